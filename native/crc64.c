// Folding by carry-less multiplication follows Gopal et al., "Fast CRC Computation for Generic Polynomials Using
// PCLMULQDQ Instruction" (Intel, 2009), in the bit-reflected form.
#include "crc64.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the loads below are little-endian");

#define POLYNOMIAL 0xD800000000000000ull

#if defined(__x86_64__)
#include <immintrin.h>
#define FOLDING __attribute__((target("sse2,pclmul")))
#define FOLDING_NAME "pclmulqdq"
typedef __m128i Lane;
#elif defined(__aarch64__)
#include <arm_neon.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#define FOLDING __attribute__((target("+crypto")))
#define FOLDING_NAME "pmull"
typedef uint64x2_t Lane;
#endif

typedef struct {
  uint64_t low, high;
} FoldBy;

static uint64_t table[8][256];
// Folding constants for distances of 128, 256, 512 and 1024 bits.
static FoldBy fold_by[4];
static bool folds;

// Reflected: bit 63 is x^0, so multiplying by x shifts right.
static uint64_t times_x(uint64_t value) { return (value >> 1) ^ ((value & 1) ? POLYNOMIAL : 0); }

static uint64_t power_of_x(unsigned exponent) {
  uint64_t value = 1ull << 63;
  while (exponent-- > 0) value = times_x(value);
  return value;
}

static bool cpu_folds(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__)
  return (getauxval(AT_HWCAP) & HWCAP_PMULL) != 0;
#else
  return false;
#endif
}

__attribute__((constructor)) static void make_tables(void) {
  for (unsigned byte = 0; byte < 256; byte++) {
    uint64_t value = byte;
    for (int bit = 0; bit < 8; bit++) value = times_x(value);
    table[0][byte] = value;
  }
  for (int k = 1; k < 8; k++)
    for (unsigned byte = 0; byte < 256; byte++)
      table[k][byte] = (table[k - 1][byte] >> 8) ^ table[0][table[k - 1][byte] & 0xff];
  // A reflected carry-less product carries one factor of x too many, hence the powers one below the distance; the low
  // half holds the earlier bytes, 64 powers above the high half.
  for (unsigned i = 0; i < 4; i++) {
    const unsigned distance = 128u << i;
    fold_by[i] = (FoldBy){.low = power_of_x(distance + 63), .high = power_of_x(distance - 1)};
  }
  folds = cpu_folds();
}

static inline uint64_t load64(const uint8_t *data) {
  uint64_t value;
  memcpy(&value, data, sizeof value);
  return value;
}

static uint64_t update_table(uint64_t state, const uint8_t *data, size_t length) {
  for (; length >= 8; data += 8, length -= 8) {
    state ^= load64(data);
    state = table[7][state & 0xff] ^ table[6][(state >> 8) & 0xff] ^ table[5][(state >> 16) & 0xff] ^
            table[4][(state >> 24) & 0xff] ^ table[3][(state >> 32) & 0xff] ^ table[2][(state >> 40) & 0xff] ^
            table[1][(state >> 48) & 0xff] ^ table[0][state >> 56];
  }
  for (; length > 0; data++, length--) state = (state >> 8) ^ table[0][(state ^ *data) & 0xff];
  return state;
}

#if defined(FOLDING)

#if defined(__x86_64__)
FOLDING static inline Lane load_lane(const void *data) { return _mm_loadu_si128(data); }
FOLDING static inline void store_lane(void *data, Lane lane) { _mm_storeu_si128(data, lane); }
FOLDING static inline Lane add(Lane a, Lane b) { return _mm_xor_si128(a, b); }
FOLDING static inline Lane state_lane(uint64_t state) { return _mm_cvtsi64_si128((long long)state); }
FOLDING static inline Lane fold(Lane lane, Lane by) {
  return _mm_xor_si128(_mm_clmulepi64_si128(lane, by, 0x00), _mm_clmulepi64_si128(lane, by, 0x11));
}
#else
FOLDING static inline Lane load_lane(const void *data) { return vreinterpretq_u64_u8(vld1q_u8(data)); }
FOLDING static inline void store_lane(void *data, Lane lane) { vst1q_u8(data, vreinterpretq_u8_u64(lane)); }
FOLDING static inline Lane add(Lane a, Lane b) { return veorq_u64(a, b); }
FOLDING static inline Lane state_lane(uint64_t state) { return vcombine_u64(vcreate_u64(state), vcreate_u64(0)); }
FOLDING static inline Lane fold(Lane lane, Lane by) {
  const poly128_t low = vmull_p64(vgetq_lane_u64(lane, 0), vgetq_lane_u64(by, 0));
  const poly128_t high = vmull_p64(vgetq_lane_u64(lane, 1), vgetq_lane_u64(by, 1));
  return veorq_u64(vreinterpretq_u64_p128(low), vreinterpretq_u64_p128(high));
}
#endif

#define LANES 8
#define LANE_BYTES 16

// length is at least LANES * LANE_BYTES. Eight independent lanes hide the latency of the multiplier.
FOLDING static uint64_t update_folding(uint64_t state, const uint8_t *data, size_t length) {
  Lane lanes[LANES];
  for (int i = 0; i < LANES; i++) lanes[i] = load_lane(data + i * LANE_BYTES);
  lanes[0] = add(lanes[0], state_lane(state));
  data += LANES * LANE_BYTES;
  length -= LANES * LANE_BYTES;

  const Lane by1024 = load_lane(&fold_by[3]);
  for (; length >= LANES * LANE_BYTES; data += LANES * LANE_BYTES, length -= LANES * LANE_BYTES)
    for (int i = 0; i < LANES; i++) lanes[i] = add(fold(lanes[i], by1024), load_lane(data + i * LANE_BYTES));

  for (int half = LANES / 2, step = 2; half > 0; half /= 2, step--) {
    const Lane by = load_lane(&fold_by[step]);
    for (int i = 0; i < half; i++) lanes[i] = add(fold(lanes[i], by), lanes[i + half]);
  }
  const Lane by128 = load_lane(&fold_by[0]);
  for (; length >= LANE_BYTES; data += LANE_BYTES, length -= LANE_BYTES)
    lanes[0] = add(fold(lanes[0], by128), load_lane(data));

  // What is left is as good as the message: the table divides its 16 bytes.
  uint8_t rest[LANE_BYTES];
  store_lane(rest, lanes[0]);
  return update_table(update_table(0, rest, LANE_BYTES), data, length);
}

static uint64_t update(uint64_t state, const uint8_t *data, size_t length) {
  if (folds && length >= LANES * LANE_BYTES) return update_folding(state, data, length);
  return update_table(state, data, length);
}

const char *crc64_variant(void) { return folds ? FOLDING_NAME : "table"; }

#else

static uint64_t update(uint64_t state, const uint8_t *data, size_t length) { return update_table(state, data, length); }

const char *crc64_variant(void) { return "table"; }

#endif

uint64_t crc64_update(uint64_t crc, const uint8_t *data, size_t length) { return ~update(~crc, data, length); }

uint64_t crc64_update_table(uint64_t crc, const uint8_t *data, size_t length) {
  return ~update_table(~crc, data, length);
}

uint64_t crc64_page(uint32_t page_number, const uint8_t *data, size_t length) {
  const uint32_t prefix = __builtin_bswap32(page_number);
  const uint64_t state = update_table(~0ull, (const uint8_t *)&prefix, sizeof prefix);
  return ~update(state, data, length) | (1ull << 63);
}

// Keeps the compiler from regrouping sums: as written, the chain from frame to frame is two additions per 8 bytes, as
// regrouped by gcc four.
static inline uint32_t settled(uint32_t value) {
  __asm__("" : "+r"(value));
  return value;
}

// With the byte order a constant, each call below compiles to its own loop.
static inline void sum_words(uint32_t state[2], const uint8_t *data, size_t length, bool swap) {
  uint32_t s1 = state[0], s2 = state[1];
  for (; length >= 8; data += 8, length -= 8) {
    uint32_t words[2];
    memcpy(words, data, sizeof words);
    const uint32_t first = settled(s1 + (swap ? __builtin_bswap32(words[0]) : words[0]));
    const uint32_t second = settled(s2 + (swap ? __builtin_bswap32(words[1]) : words[1]));
    s1 = first + s2;
    s2 = second + s1;
  }
  state[0] = s1;
  state[1] = s2;
}

void wal_checksum(uint32_t state[2], const uint8_t *data, size_t length, bool big_endian) {
  if (big_endian)
    sum_words(state, data, length, true);
  else
    sum_words(state, data, length, false);
}
