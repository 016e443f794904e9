/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Disks with an MBR and logical partitions, as a file and through the window. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzDisk *disk = fuzz_disk_new(data, size);
    BlockNode *file;

    fuzz_context();
    if (disk != NULL) {
        fuzz_check_table(&disk->node);
        file = fuzz_disk_to_file(disk);
        fuzz_check_table(file);
        block_node_unref(file);
        block_node_unref(&disk->node);
    }
    return 0;
}
