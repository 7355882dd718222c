//! The greater of two records, which `greatest` can tell in an expression, and no aggregate
//! of Postgres before 18 can.

use pgrx::pg_sys::{self, Datum, FunctionCallInfo, Oid, PGFunction, Pg_finfo_record};

unsafe extern "C-unwind" {
    fn btrecordcmp(fcinfo: FunctionCallInfo) -> Datum;
    fn CallerFInfoFunctionCall2(
        function: PGFunction,
        flinfo: *mut pg_sys::FmgrInfo,
        collation: Oid,
        arg1: Datum,
        arg2: Datum,
    ) -> Datum;
}

#[doc(hidden)]
#[unsafe(no_mangle)]
pub(crate) extern "C-unwind" fn pg_finfo_record_greater() -> *const Pg_finfo_record {
    static VERSION_1: Pg_finfo_record = Pg_finfo_record { api_version: 1 };
    &raw const VERSION_1
}

/// The greater of two records of one type, compared field by field; null for values of other
/// types.
///
/// The comparison may raise an ERROR, which passes through this frame: it has nothing to
/// drop.
#[doc(hidden)]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C-unwind" fn record_greater(fcinfo: FunctionCallInfo) -> Datum {
    // SAFETY: a strict function of two arguments is called with two of them. The comparison
    // keeps what it knows of the type in `flinfo`, which nothing else here uses.
    unsafe {
        let arguments = (*fcinfo).args.as_ptr();
        let (a, b) = ((*arguments).value, (*arguments.add(1)).value);
        // The comparison reads both as records. What it knows of the type is there from the
        // first call on.
        if (*(*fcinfo).flinfo).fn_extra.is_null()
            && !pg_sys::type_is_rowtype(pg_sys::get_fn_expr_argtype((*fcinfo).flinfo, 0))
        {
            (*fcinfo).isnull = true;
            return Datum::null();
        }
        let order = CallerFInfoFunctionCall2(
            Some(btrecordcmp),
            (*fcinfo).flinfo,
            (*fcinfo).fncollation,
            a,
            b,
        );
        if order.value() as i32 >= 0 { a } else { b }
    }
}
