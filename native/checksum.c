// The checksums as JavaScript functions; 64-bit values travel as [high, low] in a Uint32Array.
#include "addon.h"
#include "crc64.h"

typedef uint64_t (*Update)(uint64_t crc, const uint8_t *data, size_t length);

static bool get_state(napi_env env, napi_value value, Words *state) {
  if (!get_words(env, value, state)) return false;
  if (state->length >= 2) return true;
  throw_range(env, "The state needs two words");
  return false;
}

// (state, data, start, end)
static napi_value chain(napi_env env, napi_callback_info info, Update update) {
  napi_value arguments[4];
  Words state;
  Bytes bytes;
  if (!get_arguments(env, info, 4, arguments) || !get_state(env, arguments[0], &state) ||
      !get_range(env, arguments[1], arguments[2], arguments[3], &bytes))
    return NULL;
  const uint64_t crc = update((uint64_t)state.data[0] << 32 | state.data[1], bytes.data, bytes.length);
  state.data[0] = (uint32_t)(crc >> 32);
  state.data[1] = (uint32_t)crc;
  return NULL;
}

static napi_value crc64Update(napi_env env, napi_callback_info info) { return chain(env, info, crc64_update); }

static napi_value crc64UpdateTable(napi_env env, napi_callback_info info) {
  return chain(env, info, crc64_update_table);
}

static napi_value crc64Variant(napi_env env, napi_callback_info info) {
  (void)info;
  napi_value result = NULL;
  napi_create_string_utf8(env, crc64_variant(), NAPI_AUTO_LENGTH, &result);
  return result;
}

// (out, index, pgno, data, start, end)
static napi_value pageChecksum(napi_env env, napi_callback_info info) {
  napi_value arguments[6];
  Words out;
  uint64_t index;
  uint32_t page_number;
  Bytes page;
  if (!get_arguments(env, info, 6, arguments) || !get_words(env, arguments[0], &out) ||
      !get_size(env, arguments[1], &index) || !get_uint32(env, arguments[2], &page_number) ||
      !get_range(env, arguments[3], arguments[4], arguments[5], &page))
    return NULL;
  if (index >= out.length / 2) {
    throw_range(env, "Index lies outside of the checksums");
    return NULL;
  }
  const uint64_t crc = crc64_page(page_number, page.data, page.length);
  out.data[2 * index] = (uint32_t)(crc >> 32);
  out.data[2 * index + 1] = (uint32_t)crc;
  return NULL;
}

// (state, data, start, end, bigEndian)
static napi_value walChecksum(napi_env env, napi_callback_info info) {
  napi_value arguments[5];
  Words state;
  Bytes bytes;
  bool big_endian;
  if (!get_arguments(env, info, 5, arguments) || !get_state(env, arguments[0], &state) ||
      !get_range(env, arguments[1], arguments[2], arguments[3], &bytes) || !get_bool(env, arguments[4], &big_endian))
    return NULL;
  if (bytes.length % 8 != 0) {
    throw_range(env, "The WAL checksum takes a multiple of 8 bytes");
    return NULL;
  }
  wal_checksum(state.data, bytes.data, bytes.length, big_endian);
  return NULL;
}

bool register_checksum(napi_env env, napi_value exports) {
  static const Export functions[] = {
      {"crc64Update", crc64Update},   {"crc64UpdateTable", crc64UpdateTable}, {"crc64Variant", crc64Variant},
      {"pageChecksum", pageChecksum}, {"walChecksum", walChecksum},
  };
  return export_functions(env, exports, functions, sizeof functions / sizeof *functions);
}
