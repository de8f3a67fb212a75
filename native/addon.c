// Registration, and the shared way to read arguments and make errors.
#include "addon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

bool get_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *arguments) {
  size_t given = count;
  if (napi_get_cb_info(env, info, &given, arguments, NULL, NULL) == napi_ok && given >= count) return true;
  throw_type(env, "Too few arguments");
  return false;
}

bool get_int(napi_env env, napi_value value, int *out) {
  if (napi_get_value_int32(env, value, out) == napi_ok) return true;
  throw_type(env, "Expected an integer");
  return false;
}

bool get_uint32(napi_env env, napi_value value, uint32_t *out) {
  if (napi_get_value_uint32(env, value, out) == napi_ok) return true;
  throw_type(env, "Expected an unsigned integer");
  return false;
}

bool get_size(napi_env env, napi_value value, uint64_t *out) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) {
    throw_type(env, "Expected a number");
    return false;
  }
  if (!(number >= 0 && number <= 9007199254740992.0) || number != (double)(uint64_t)number) {
    throw_range(env, "Expected a whole number from 0 to 2^53");
    return false;
  }
  *out = (uint64_t)number;
  return true;
}

bool get_bool(napi_env env, napi_value value, bool *out) {
  if (napi_get_value_bool(env, value, out) == napi_ok) return true;
  throw_type(env, "Expected a boolean");
  return false;
}

bool get_bytes(napi_env env, napi_value value, Bytes *out) {
  napi_typedarray_type type;
  void *data;
  if (napi_get_typedarray_info(env, value, &type, &out->length, &data, NULL, NULL) != napi_ok ||
      type != napi_uint8_array) {
    throw_type(env, "Expected a Uint8Array");
    return false;
  }
  out->data = data;
  return true;
}

bool get_words(napi_env env, napi_value value, Words *out) {
  napi_typedarray_type type;
  void *data;
  if (napi_get_typedarray_info(env, value, &type, &out->length, &data, NULL, NULL) != napi_ok ||
      type != napi_uint32_array) {
    throw_type(env, "Expected a Uint32Array");
    return false;
  }
  out->data = data;
  return true;
}

bool get_range(napi_env env, napi_value data, napi_value start, napi_value end, Bytes *out) {
  uint64_t from, to;
  if (!get_bytes(env, data, out) || !get_size(env, start, &from) || !get_size(env, end, &to)) return false;
  if (from > to || to > out->length) {
    throw_range(env, "Range lies outside of the array");
    return false;
  }
  if (out->data != NULL) out->data += from;
  out->length = to - from;
  return true;
}

bool get_string(napi_env env, napi_value value, char **out) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) {
    throw_type(env, "Expected a string");
    return false;
  }
  char *text = malloc(length + 1);
  if (text == NULL) {
    throw_system_error(env, ENOMEM, "malloc", NULL);
    return false;
  }
  napi_get_value_string_utf8(env, value, text, length + 1, &length);
  if (strlen(text) != length) {
    free(text);
    throw_type(env, "String holds a NUL character");
    return false;
  }
  *out = text;
  return true;
}

void throw_range(napi_env env, const char *message) { napi_throw_range_error(env, "ERR_OUT_OF_RANGE", message); }

void throw_type(napi_env env, const char *message) { napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message); }

static void set_string(napi_env env, napi_value object, const char *name, const char *text) {
  napi_value value;
  if (napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value) == napi_ok)
    napi_set_named_property(env, object, name, value);
}

napi_value make_system_error(napi_env env, int error, const char *syscall, const char *path) {
  char text[512];
  const char *name = uv_err_name(-error);
  if (path == NULL)
    snprintf(text, sizeof text, "%s: %s, %s", name, uv_strerror(-error), syscall);
  else
    snprintf(text, sizeof text, "%s: %s, %s '%s'", name, uv_strerror(-error), syscall, path);
  napi_value message, code, result = NULL;
  if (napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &message) != napi_ok ||
      napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &code) != napi_ok ||
      napi_create_error(env, code, message, &result) != napi_ok)
    return NULL;
  napi_set_named_property(env, result, "errno", make_number(env, -error));
  set_string(env, result, "syscall", syscall);
  if (path != NULL) set_string(env, result, "path", path);
  return result;
}

void throw_system_error(napi_env env, int error, const char *syscall, const char *path) {
  napi_value value = make_system_error(env, error, syscall, path);
  if (value != NULL) napi_throw(env, value);
}

napi_value make_number(napi_env env, double number) {
  napi_value value = NULL;
  napi_create_double(env, number, &value);
  return value;
}

bool export_functions(napi_env env, napi_value exports, const Export *functions, size_t count) {
  for (size_t i = 0; i < count; i++) {
    napi_value value;
    if (napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].function, NULL, &value) != napi_ok ||
        napi_set_named_property(env, exports, functions[i].name, value) != napi_ok)
      return false;
  }
  return true;
}

NAPI_MODULE_INIT() {
  if (!register_checksum(env, exports) || !register_clock(env, exports) || !register_device(env, exports) ||
      !register_file(env, exports) || !register_ltx_page(env, exports) || !register_lz4(env, exports) || !register_mount(env, exports) ||
      !register_pool(env, exports) || !register_write_files(env, exports))
    return NULL;
  return exports;
}
