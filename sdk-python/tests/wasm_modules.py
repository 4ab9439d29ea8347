"""Tiny WebAssembly plugins, put together byte by byte; what each does is said where it is made."""

import struct

_I32 = 0x7F
# Opcodes, as far as they are needed here.
_CONTROL = {"loop": 0x03, "block": 0x02}
_OPS = {
    "unreachable": 0x00,
    "end": 0x0B,
    "br_if": 0x0D,
    "br": 0x0C,
    "call": 0x10,
    "drop": 0x1A,
    "select": 0x1B,
    "get": 0x20,
    "set": 0x21,
    "load": 0x28,
    "load8": 0x2D,
    "store": 0x36,
    "store8": 0x3A,
    "const": 0x41,
    "eq": 0x46,
    "lt_u": 0x49,
    "ge_u": 0x4F,
    "add": 0x6A,
    "mul": 0x6C,
    "div_s": 0x6D,
}


def _unsigned(value):
    out = bytearray()
    while True:
        out.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)


def _signed(value):
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        done = (value == 0 and not byte & 0x40) or (value == -1 and byte & 0x40)
        out.append(byte if done else byte | 0x80)
        if done:
            return bytes(out)


def _vector(items):
    return _unsigned(len(items)) + b"".join(items)


def _section(number, body):
    return bytes([number]) + _unsigned(len(body)) + body


def _code(text):
    """Instructions such as ``get 0`` or ``load8 4`` (with an offset), one after another."""
    out = bytearray()
    words = text.split()
    while words:
        word = words.pop(0)
        if word in _CONTROL:
            out += bytes([_CONTROL[word], 0x40])
            continue
        out.append(_OPS[word])
        if word == "const":
            out += _signed(int(words.pop(0)))
        elif word in ("load", "store", "load8", "store8"):
            out += bytes([0]) + _unsigned(int(words.pop(0)))
        elif word in ("get", "set", "br", "br_if", "call"):
            out += _unsigned(int(words.pop(0)))
    return bytes(out)


def module(functions, data=()):
    """A module with a page of memory.

    functions: name -> (number of parameters, number of further locals, code); all i32, each returns one.
    data: (address, bytes).
    """
    types, bodies, exports = [], [], [b"\x06memory\x02\x00"]
    for number, (name, (parameters, locals_, text)) in enumerate(functions.items()):
        types.append(b"\x60" + _vector([bytes([_I32])] * parameters) + _vector([bytes([_I32])]))
        declared = _vector([_unsigned(locals_) + bytes([_I32])] if locals_ else [])
        body = declared + _code(text) + b"\x0b"
        bodies.append(_unsigned(len(body)) + body)
        exports.append(_unsigned(len(name)) + name.encode() + b"\x00" + _unsigned(number))
    segments = [
        b"\x00\x41" + _signed(address) + b"\x0b" + _unsigned(len(content)) + content
        for address, content in data
    ]
    return (
        b"\0asm\1\0\0\0"
        + _section(1, _vector(types))
        + _section(3, _vector([_unsigned(n) for n in range(len(functions))]))
        + _section(5, b"\x01\x00\x01")
        + _section(7, _vector(exports))
        + _section(10, _vector(bodies))
        + _section(11, _vector(segments))
    )


def _typed(name, code, *, flags=0, tensors=()):
    """A module of ABI 1. ``tensors`` are its results at 1024, 1068, ... as (dtype, shape); the result lies at 2048."""
    text = name.encode()
    data = [
        (512, text + b"1.0"),
        (768, struct.pack("<7I", 512, len(text), 512 + len(text), 3, 512, 0, flags)),
        (2048, struct.pack("<iIIII", 0, len(tensors), 1024, 512, len(text))),
    ]
    for nth, (dtype, shape) in enumerate(tensors):
        padded = [*shape, *[0] * (8 - len(shape))]
        data.append((1024 + 44 * nth, struct.pack("<3I8I", 0, dtype, len(shape), *padded)))
    return module(
        {
            "zenith_abi_version": (0, 0, "const 1"),
            "zenith_describe": (0, 0, "const 768"),
            "zenith_process": (1, 1, code + " const 2048"),
        },
        data,
    )


# ABI 0: adds one to every byte; 255 stays.
ADD_ONE = module(
    {
        "process": (
            2,
            0,
            "get 1 get 0 add set 1"
            " block loop get 0 get 1 ge_u br_if 1"
            " get 0 get 0 load8 0 get 0 load8 0 const 255 lt_u add store8 0"
            " get 0 const 1 add set 0 br 0 end end const 0",
        )
    }
)

# ABI 0: refuses a sample whose first byte is 3 with its code 7.
NO_THREE = module({"process": (2, 0, "get 0 load8 0 const 3 eq const 7 mul")})

# ABI 0: what traps, each in another way, by the kind of the error that comes of it.
TRAPS = {
    "unreachable": (module({"process": (2, 0, "unreachable")}), "trap"),
    "division": (module({"process": (2, 0, "const 1 const 0 div_s")}), "trap"),
    "memory": (module({"process": (2, 0, "const -1 load 0")}), "trap"),
    "recursion": (module({"process": (2, 0, "get 0 get 1 call 0")}), "stack"),
}

# Of uint8 [7] = [n, a, b, c, d, e, f] makes the first n of [a, b], [c, d], [e, f].
PAIRS = _typed(
    "pairs",
    "get 0 load 0 set 1"
    " const 1024 get 1 const 1 add store 0"
    " const 1068 get 1 const 3 add store 0"
    " const 1112 get 1 const 5 add store 0"
    " const 2048 get 1 load8 0 store 4",
    flags=3,
    tensors=[(1, [2])] * 3,
)

# Keeps samples of uint8 [2] whose first byte is below 100.
BELOW_100 = _typed(
    "below_100",
    "get 0 load 0 set 1 const 1024 get 1 store 0 const 2048 get 1 load8 0 const 100 lt_u store 4",
    flags=1,
    tensors=[(1, [2])],
)

# Gives its 64 random bits as uint8 [8].
RANDOM = _typed("random", "const 1024 get 0 const 48 add store 0", tensors=[(1, [8])])

# Gives the shape that it was given, as uint32 [3].
SHAPE = _typed("shape", "const 1024 get 0 const 12 add store 0", tensors=[(3, [3])])
