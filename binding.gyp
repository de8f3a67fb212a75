{
  "targets": [
    {
      "target_name": "litefs",
      "sources": [
        "native/addon.c",
        "native/checksum.c",
        "native/clock.c",
        "native/crc64.c",
        "native/device.c",
        "native/file.c",
        "native/ltx-page.c",
        "native/lz4.c",
        "native/mount.c",
        "native/pool.c",
        "native/scheduling.c",
        "native/write-files.c"
      ],
      "defines": ["NAPI_VERSION=8", "_GNU_SOURCE"],
      "cflags": ["-std=gnu11", "-O3", "-Wall", "-Wextra", "-fvisibility=hidden"],
      "libraries": ["-ldl"]
    }
  ]
}
