/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names in memory: see names.h. */
#include "fs/ext4/names.h"

#include <stdlib.h>
#include <string.h>

#include <glib.h>

#include "aio/ring.h"

#define BUCKETS 32768

typedef struct Name {
    Ext4CacheEntry entry;
    uint32_t directory, ino;
    char text[];
} Name;

typedef struct NameKey {
    uint32_t directory;
    const char *text;
} NameKey;

static Name *name_of(const Ext4CacheEntry *entry)
{
    return aio_container_of((Ext4CacheEntry *)(uintptr_t)entry, Name, entry);
}

static bool has_key(const Ext4CacheEntry *entry, const void *opaque)
{
    const Name *name = name_of(entry);
    const NameKey *key = opaque;

    return name->directory == key->directory && strcmp(name->text, key->text) == 0;
}

static void put_entry(Ext4CacheEntry *entry)
{
    if (ext4_cache_entry_unref(entry)) {
        free(name_of(entry));
    }
}

static uint64_t hash_of(const NameKey *key)
{
    return ext4_cache_hash((uint64_t)key->directory << 32 | g_str_hash(key->text));
}

Ext4Cache *ext4_names_new(size_t limit)
{
    static const Ext4CacheKind kind = {.has_key = has_key, .put = put_entry};

    return ext4_cache_new(&kind, limit, BUCKETS);
}

bool ext4_names_find(Ext4Cache *names, uint32_t directory, const char *name, uint32_t *ino)
{
    const NameKey key = {.directory = directory, .text = name};
    Ext4CacheEntry *entry = ext4_cache_find(names, hash_of(&key), &key);

    if (entry != NULL) {
        *ino = name_of(entry)->ino;
        put_entry(entry);
    }
    return entry != NULL;
}

void ext4_names_add(Ext4Cache *names, uint32_t directory, const char *name, uint32_t ino)
{
    const NameKey key = {.directory = directory, .text = name};
    const size_t length = strlen(name) + 1;
    Name *added = malloc(sizeof(*added) + length);

    if (added == NULL) {
        return; /* it will be looked up again */
    }
    *added = (Name){
        .entry = {.hash = hash_of(&key), .bytes = sizeof(*added) + length, .references = 1},
        .directory = directory,
        .ino = ino,
    };
    memcpy(added->text, name, length);
    put_entry(ext4_cache_insert(names, &added->entry, &key));
}
