/* Zenith's plugin ABI 1 for C and C++, as docs/plugin-abi.md describes it. For wasm32 only: pointers have 32 bits. There is
 * nothing to link; a plugin defines the functions declared here. */
#ifndef ZENITH_PLUGIN_H
#define ZENITH_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define ZENITH_EXTERN extern "C"
#define ZENITH_ASSERT(condition) static_assert(condition, #condition)
#else
#define ZENITH_EXTERN
#define ZENITH_ASSERT(condition) _Static_assert(condition, #condition)
#endif

/* Before the definition of a function that the host is to call by `name`. */
#define ZENITH_EXPORT(name) ZENITH_EXTERN __attribute__((export_name(#name))) __attribute__((used))

#define ZENITH_ABI_VERSION 1
#define ZENITH_MAX_RANK 8

/* Element types. */
enum {
    ZENITH_BOOL = 0, /* one byte, 0 or 1 */
    ZENITH_UINT8 = 1,
    ZENITH_UINT16 = 2,
    ZENITH_UINT32 = 3,
    ZENITH_UINT64 = 4,
    ZENITH_INT8 = 5,
    ZENITH_INT16 = 6,
    ZENITH_INT32 = 7,
    ZENITH_INT64 = 8,
    ZENITH_FLOAT16 = 9,
    ZENITH_FLOAT32 = 10,
    ZENITH_FLOAT64 = 11
};

/* Flags of a description. */
enum {
    ZENITH_MAY_DROP = 1,
    ZENITH_MAY_SPLIT = 2
};

/* Levels of log messages. */
enum {
    ZENITH_LOG_ERROR = 1,
    ZENITH_LOG_WARNING = 2,
    ZENITH_LOG_INFO = 3,
    ZENITH_LOG_DEBUG = 4
};

/* A tensor. */
typedef struct {
    void *data;     /* first byte; elements lie row-major without gaps, aligned to their size */
    uint32_t dtype; /* ZENITH_UINT8, ... */
    uint32_t rank;  /* 0 to ZENITH_MAX_RANK */
    uint32_t shape[ZENITH_MAX_RANK]; /* the first `rank` count, the others are 0 */
} zenith_tensor;

/* What a plugin is called with. The plugin may overwrite the tensor's bytes. */
typedef struct {
    zenith_tensor tensor;
    uint32_t reserved; /* 0 */
    uint64_t random;   /* all the randomness a plugin may use */
} zenith_input;

/* What a plugin returns. It stays valid until the next call; tensors may lie in the input's bytes. */
typedef struct {
    int32_t status;               /* 0, or the plugin's error code */
    uint32_t count;               /* 0 drops the sample, 1 keeps it, more split it */
    const zenith_tensor *tensors; /* `count` of them */
    const char *message;          /* UTF-8 text for the user when status is not 0 */
    uint32_t message_len;         /* bytes */
} zenith_result;

/* What a plugin is. Texts are UTF-8; their lengths are in bytes. */
typedef struct {
    const char *name; /* at most 256 */
    uint32_t name_len;
    const char *version; /* at most 256 */
    uint32_t version_len;
    const char *description; /* at most 4,096 */
    uint32_t description_len;
    uint32_t flags; /* ZENITH_MAY_DROP | ZENITH_MAY_SPLIT */
} zenith_description;

ZENITH_ASSERT(sizeof(void *) == 4);
ZENITH_ASSERT(sizeof(zenith_tensor) == 44);
ZENITH_ASSERT(offsetof(zenith_tensor, dtype) == 4);
ZENITH_ASSERT(offsetof(zenith_tensor, rank) == 8);
ZENITH_ASSERT(offsetof(zenith_tensor, shape) == 12);
ZENITH_ASSERT(sizeof(zenith_input) == 56);
ZENITH_ASSERT(offsetof(zenith_input, reserved) == 44);
ZENITH_ASSERT(offsetof(zenith_input, random) == 48);
ZENITH_ASSERT(sizeof(zenith_result) == 20);
ZENITH_ASSERT(offsetof(zenith_result, count) == 4);
ZENITH_ASSERT(offsetof(zenith_result, tensors) == 8);
ZENITH_ASSERT(offsetof(zenith_result, message) == 12);
ZENITH_ASSERT(offsetof(zenith_result, message_len) == 16);
ZENITH_ASSERT(sizeof(zenith_description) == 28);
ZENITH_ASSERT(offsetof(zenith_description, name_len) == 4);
ZENITH_ASSERT(offsetof(zenith_description, version) == 8);
ZENITH_ASSERT(offsetof(zenith_description, description) == 16);
ZENITH_ASSERT(offsetof(zenith_description, flags) == 24);

/* Needed. */
ZENITH_EXTERN int32_t zenith_abi_version(void);
ZENITH_EXTERN const zenith_description *zenith_describe(void);
ZENITH_EXTERN const zenith_result *zenith_process(const zenith_input *input);

/* Optional: called once with the user's configuration; a batch of samples stacked along the first axis; a place for the
 * host's data, a multiple of 16. */
ZENITH_EXTERN const zenith_result *zenith_configure(const char *text, uint32_t len);
ZENITH_EXTERN const zenith_result *zenith_process_batch(const zenith_input *input);
ZENITH_EXTERN void *zenith_alloc(uint32_t len);

/* Shows a message to whoever runs the plugin; a few a second. Its use makes the module import zenith.log. */
ZENITH_EXTERN __attribute__((import_module("zenith"), import_name("log"))) void
zenith_log(int32_t level, const char *text, uint32_t len);

#endif
