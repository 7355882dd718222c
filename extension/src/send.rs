//! Output functions of `tidings.ulid`. They are plain C functions because a page of events has
//! thousands of values, and pgrx's guard and its copy of the text cost more than writing the
//! text.
//!
//! None of these functions is of `language internal`, for the same reason as in
//! [`compare`](crate::compare): the server would search for such a function by name in each
//! query that sends such a column.

use std::ffi::c_void;

use pgrx::pg_sys::{Datum, FunctionCallInfo};
use tidings_core::{Ulid, ulid::TEXT_LENGTH};

use crate::compare::c_function;

unsafe extern "C-unwind" {
    // Not pgrx's, which is guarded. If there is no memory left, its ERROR passes through the
    // frames below, which have nothing to drop.
    fn palloc(size: usize) -> *mut c_void;
    fn uuid_send(fcinfo: FunctionCallInfo) -> Datum;
}

c_function!(ulid_out, pg_finfo_ulid_out, |fcinfo| {
    let bytes = (*(*fcinfo).args.as_ptr()).value;
    let value = Ulid::from_bytes(bytes.cast_mut_ptr::<[u8; 16]>().read_unaligned());
    let text = palloc(TEXT_LENGTH + 1).cast::<u8>();
    text.cast::<[u8; TEXT_LENGTH]>().write(value.to_ascii());
    text.add(TEXT_LENGTH).write(0);
    Datum::from(text)
});
c_function!(ulid_send, pg_finfo_ulid_send, |fcinfo| uuid_send(fcinfo));
