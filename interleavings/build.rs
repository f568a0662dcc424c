//! Builds the crate for a scheduler of its own: a flag for the whole build would part these
//! dependencies from those of `proof/`.

fn main() {
    println!("cargo::rustc-cfg=shuttle");
    println!("cargo::rerun-if-changed=build.rs");
}
