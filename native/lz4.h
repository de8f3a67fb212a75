// LZ4 blocks by the system's liblz4.
#ifndef LITEFS_LZ4_H
#define LITEFS_LZ4_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Whether a block inflates to just `target_length` bytes; false without liblz4, too. `target` may be written to in any case.
bool lz4_inflates(const uint8_t *block, size_t length, uint8_t *target, size_t target_length);

#endif
