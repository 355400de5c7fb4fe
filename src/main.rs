//! The `weft` program: hands the command line to [`weft::cli`].

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for huge pages, of which each is filled with zeros when its first byte is touched, and kept while
    // its last one is. A server of many small documents pays three times the memory for that, and half its time to open one.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    weft::cli::main()
}
