/* A Zenith plugin in C: turns uint8 samples into their negatives, in place. */

#include "zenith_plugin.h"

#define TEXT(literal) literal, sizeof(literal) - 1

static const zenith_description description = {
    TEXT("invert_c"),
    TEXT("1.0.0"),
    TEXT("Turns uint8 samples into their negatives"),
    0,
};

static zenith_tensor output;
static zenith_result result;

ZENITH_EXPORT(zenith_abi_version)
int32_t zenith_abi_version(void) {
    return ZENITH_ABI_VERSION;
}

ZENITH_EXPORT(zenith_describe)
const zenith_description *zenith_describe(void) {
    return &description;
}

ZENITH_EXPORT(zenith_process)
const zenith_result *zenith_process(const zenith_input *input) {
    if (input->tensor.dtype != ZENITH_UINT8) {
        result = (zenith_result){2, 0, NULL, TEXT("uint8 is needed")};
        return &result;
    }
    uint32_t len = 1;
    for (uint32_t axis = 0; axis < input->tensor.rank; axis++) {
        len *= input->tensor.shape[axis];
    }
    uint8_t *bytes = input->tensor.data;
    for (uint32_t i = 0; i < len; i++) {
        bytes[i] = 255 - bytes[i];
    }
    output = input->tensor;
    result = (zenith_result){0, 1, &output, NULL, 0};
    return &result;
}
