//! Writes the folder of libtorch into the binary, so that it runs without `LD_LIBRARY_PATH`.
use std::env;
use std::path::Path;

fn main() {
    for name in ["LIBTORCH", "LIBTORCH_LIB", "LIBTORCH_USE_PYTORCH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    // The same two variables, in the same order, as the build script of torch-sys.
    let Some(root) = env::var_os("LIBTORCH_LIB").or_else(|| env::var_os("LIBTORCH")) else {
        return;
    };
    let lib = Path::new(&root).join("lib");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    // Nothing refers to a symbol of libtorch_cuda, so the linker would drop it, and with it the GPU. libtorch.so
    // itself must stay droppable: it asks for libtorch_cuda.so, which a CPU installation does not have.
    if lib.join("libtorch_cuda.so").exists() {
        println!("cargo::rustc-link-arg=-Wl,--no-as-needed,-ltorch_cuda,--as-needed");
    }
}
