//! The `weft` program: hands the command line to [`weft::cli`].

use std::ffi::{c_int, c_long};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

unsafe extern "C" {
    /// mimalloc's own; the crate does not name it.
    safe fn mi_option_set(option: c_int, value: c_long);
}
/// For how many milliseconds mimalloc keeps pages of which nothing is in use.
const MI_OPTION_PURGE_DELAY: c_int = 15;

fn main() -> ExitCode {
    // The allocator asks for huge pages, of which each is filled with zeros when its first byte is touched, and kept while
    // its last one is. A server of many small documents pays three times the memory for that, and half its time to open one.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    // And it looks for pages to give back only when it is asked for others: what it took to open a crowd's documents would stay
    // for as long as they are merely open.
    mi_option_set(MI_OPTION_PURGE_DELAY, 0);
    weft::cli::main()
}
