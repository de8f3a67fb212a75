// CRC-64/ISO as Go's hash/crc64 computes it (reflected polynomial 0xD800000000000000, all ones in and out), and
// SQLite's WAL checksum. Safe to call from any thread: tables are made when the addon is loaded and never written after.
#ifndef LITEFS_CRC64_H
#define LITEFS_CRC64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Both take and return the finished checksum: start with 0 and chain calls.
uint64_t crc64_update(uint64_t crc, const uint8_t *data, size_t length);
uint64_t crc64_update_table(uint64_t crc, const uint8_t *data, size_t length);

// LTX page checksum: CRC-64 of the big-endian page number and the page, with bit 63 set.
uint64_t crc64_page(uint32_t page_number, const uint8_t *data, size_t length);

// What crc64_update runs on this machine: "pclmulqdq", "pmull" or "table".
const char *crc64_variant(void);

// length is a multiple of 8; big_endian is the byte order in which the words are read.
void wal_checksum(uint32_t state[2], const uint8_t *data, size_t length, bool big_endian);

#endif
