/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* File systems, packed as disks: open, replay the journal, walk, read. */
#include "../unit/ext4-walk.h"
#include "fuzz.h"

#define BUDGET     1500
#define DISK_LIMIT (INT64_C(1) << 36)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzDisk *disk = fuzz_disk_new(data, size);

    if (disk != NULL) {
        if (disk->node.size <= DISK_LIMIT) {
            ext4_walk(fuzz_context(), &disk->node, BUDGET);
        }
        block_node_unref(&disk->node);
    }
    return 0;
}
