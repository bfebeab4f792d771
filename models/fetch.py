"""A hint to the processor: fetch memory that is read soon, while something else is computed."""

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

CACHE_LINE: Final = 64  # bytes


def fetch_row(rows: Any, row: Any) -> None:
    """Ask for a row of a C-contiguous array; without any effect on values, and nothing at all outside compiled code.

    Lanes stand at unrelated rows of tables far larger than the caches: a row asked for at the start of a lane's step
    has come when it is read at the end.
    """


@overload(fetch_row)
def _fetch_row(rows: Any, row: Any) -> Any:
    def compiled(rows: Any, row: Any) -> None:
        size = rows.strides[0]
        for offset in range(row * size, (row + 1) * size, CACHE_LINE):
            _fetch(rows, offset)  # type: ignore[call-arg]  # the first argument is the compiler's

    return compiled


@intrinsic
def _fetch(typing_context: Any, rows: Any, offset: Any) -> Any:
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
