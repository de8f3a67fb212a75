// A page of an LTX file, version 3, read in one call: header, LZ4 block and the file's CRC. It knows the form that our own files have and
// leaves every other to JavaScript, which also says what is wrong with one.
#include "addon.h"
#include "crc64.h"
#include "lz4.h"

#include <string.h>

// u32 page number, u16 flags, u32 size of the block; big-endian.
#define HEADER_SIZE 10
#define BLOCK_FLAG 1

static uint32_t read_u32(const uint8_t *bytes) {
  return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

// Bytes of the page frame at the start of source, its page then in target and the CRC behind it; 0 where it is not all there, or is not of
// this form, with nothing changed but target.
static size_t read_page(const Bytes *source, const Words *crc, const Bytes *target) {
  if (source->length < HEADER_SIZE || read_u32(source->data) == 0) return 0;
  if (source->data[4] != 0 || source->data[5] != BLOCK_FLAG) return 0;
  const uint32_t block_size = read_u32(source->data + 6);
  if (block_size > source->length - HEADER_SIZE) return 0;
  if (!lz4_inflates(source->data + HEADER_SIZE, block_size, target->data, target->length)) return 0;
  uint64_t state = (uint64_t)crc->data[0] << 32 | crc->data[1];
  state = crc64_update(state, source->data, HEADER_SIZE);
  state = crc64_update(state, target->data, target->length);
  crc->data[0] = (uint32_t)(state >> 32);
  crc->data[1] = (uint32_t)state;
  return HEADER_SIZE + block_size;
}

// (source, start, end, crc, target)
static napi_value ltxReadPage(napi_env env, napi_callback_info info) {
  napi_value arguments[5];
  Bytes source, target;
  Words crc;
  if (!get_arguments(env, info, 5, arguments) || !get_range(env, arguments[0], arguments[1], arguments[2], &source) ||
      !get_words(env, arguments[3], &crc) || !get_bytes(env, arguments[4], &target))
    return NULL;
  if (crc.length < 2) {
    throw_range(env, "The state needs two words");
    return NULL;
  }
  return make_number(env, (double)read_page(&source, &crc, &target));
}

bool register_ltx_page(napi_env env, napi_value exports) {
  static const Export functions[] = {{"ltxReadPage", ltxReadPage}};
  return export_functions(env, exports, functions, sizeof functions / sizeof *functions);
}
