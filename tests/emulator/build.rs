//! Generates the types of the variant schemas, which `--schema variant` speaks.

const FOLDER: &str = "../../core/testdata/wire";
const FILES: [&str; 2] = ["ppoppo_variant.proto", "pushwoosh_variant.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={FOLDER}/{file}");
    }
    let descriptors = protox::compile(FILES, [FOLDER])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
