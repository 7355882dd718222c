#![cfg_attr(fuzzing, no_main)]

tidings_fuzz::target!("spool");
