//! The comparisons of `tidings.ulid`, as plain C functions.
//!
//! They do what the server's functions of uuid do, and the values have the same layout. But
//! a function of `language internal` is found by its name, and for a name that is not its
//! own the server compares the text with its whole table of built-in functions each time
//! an executor starts, and again for each index that `ON CONFLICT` looks into: half of the
//! CPU of a small commit. A C function is found once and cached.
//!
//! None of them may raise an ERROR or panic, so that none needs pgrx's guard, which costs
//! more than the comparison.

use std::cmp::Ordering;

use pgrx::pg_sys::{Datum, FunctionCallInfo};

unsafe extern "C-unwind" {
    fn uuid_hash(fcinfo: FunctionCallInfo) -> Datum;
    fn uuid_hash_extended(fcinfo: FunctionCallInfo) -> Datum;
    fn uuid_sortsupport(fcinfo: FunctionCallInfo) -> Datum;
}

/// The first two arguments of a strict function, compared by their bytes.
///
/// # Safety
///
/// Both arguments are of the type `ulid`, and neither is null.
unsafe fn compare(fcinfo: FunctionCallInfo) -> Ordering {
    // SAFETY: a datum of this type points at 16 bytes, aligned as char; a strict function
    // of two arguments is called with two of them.
    unsafe {
        let arguments = (*fcinfo).args.as_ptr();
        let value = |n: usize| {
            let bytes = (*arguments.add(n)).value.cast_mut_ptr::<[u8; 16]>();
            u128::from_be_bytes(bytes.read_unaligned())
        };
        value(0).cmp(&value(1))
    }
}

/// Declares a C function, with the record by which Postgres knows its calling convention.
///
/// The function has no guard, so its body must not panic, and must not call a guarded binding
/// of pgrx, which turns an ERROR into a panic.
macro_rules! c_function {
    ($name:ident, $info:ident, |$fcinfo:ident| $body:expr) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub(crate) extern "C-unwind" fn $info() -> *const pgrx::pg_sys::Pg_finfo_record {
            static VERSION_1: pgrx::pg_sys::Pg_finfo_record =
                pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &raw const VERSION_1
        }

        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C-unwind" fn $name(
            $fcinfo: pgrx::pg_sys::FunctionCallInfo,
        ) -> pgrx::pg_sys::Datum {
            // SAFETY: Postgres calls the function with the arguments that SQL declares.
            unsafe { $body }
        }
    };
}
pub(crate) use c_function;

c_function!(ulid_eq, pg_finfo_ulid_eq, |fcinfo| Datum::from(
    compare(fcinfo).is_eq()
));
c_function!(ulid_ne, pg_finfo_ulid_ne, |fcinfo| Datum::from(
    compare(fcinfo).is_ne()
));
c_function!(ulid_lt, pg_finfo_ulid_lt, |fcinfo| Datum::from(
    compare(fcinfo).is_lt()
));
c_function!(ulid_le, pg_finfo_ulid_le, |fcinfo| Datum::from(
    compare(fcinfo).is_le()
));
c_function!(ulid_ge, pg_finfo_ulid_ge, |fcinfo| Datum::from(
    compare(fcinfo).is_ge()
));
c_function!(ulid_gt, pg_finfo_ulid_gt, |fcinfo| Datum::from(
    compare(fcinfo).is_gt()
));
c_function!(ulid_cmp, pg_finfo_ulid_cmp, |fcinfo| Datum::from(
    compare(fcinfo) as i32
));
c_function!(ulid_hash, pg_finfo_ulid_hash, |fcinfo| uuid_hash(fcinfo));
c_function!(ulid_hash_extended, pg_finfo_ulid_hash_extended, |fcinfo| {
    uuid_hash_extended(fcinfo)
});
c_function!(ulid_sortsupport, pg_finfo_ulid_sortsupport, |fcinfo| {
    uuid_sortsupport(fcinfo)
});
