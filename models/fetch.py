"""A hint to the processor: fetch memory that is read soon, while something else is computed."""

from typing import Any, Final

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from models.compiling import KERNEL

CACHE_LINE: Final = 64  # bytes


def fetch(rows: Any, row: Any, first_byte: Any, last_byte: Any) -> None:
    """Ask for bytes of a row of a C-contiguous array; without effect on values, and nothing outside compiled code.

    Lanes, and the rows of tables that they stand at, lie scattered over far more memory than the caches hold: what is
    asked for a lane's step ahead of its use has come by then. Rows past the end are harmless.
    """


@overload(fetch, inline="always")
def _fetch(rows: Any, row: Any, first_byte: Any, last_byte: Any) -> Any:
    def compiled(rows: Any, row: Any, first_byte: Any, last_byte: Any) -> None:
        start = row * rows.strides[0]
        for offset in range(start + first_byte, start + last_byte + CACHE_LINE - 1, CACHE_LINE):
            _prefetch(rows, offset)  # type: ignore[call-arg]  # the first argument is the compiler's

    return compiled


@njit(**KERNEL)
def fetch_row(rows: Any, row: int) -> None:
    """Ask for a whole row."""
    fetch(rows, row, 0, rows.strides[0])


@intrinsic
def _prefetch(typing_context: Any, rows: Any, offset: Any) -> Any:
    """Ask for the cache line at a byte offset into an array."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(builder.bitcast(array.data, byte), [arguments[1]])
        function_type = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0i8")
        builder.call(function, [place, number(0), number(3), number(1)])  # read, into every cache, data
        return context.get_dummy_value()

    return types.void(rows, types.intp), generate
