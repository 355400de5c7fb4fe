//! The `weft` program: hands the command line to [`weft::cli`].

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How the allocator behaves, unless the variable `_RJEM_MALLOC_CONF` says otherwise: what is no longer in use goes back to
/// the system within half a second, by a thread of its own; what it took to open a crowd's documents would otherwise stay for
/// as long as they are merely open.
// SAFETY: the allocator reads a string that ends in NUL from the pointer of this name, which nothing else defines.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8; 59] = b"background_thread:true,dirty_decay_ms:500,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    // A huge page is filled with zeros when its first byte is touched, and kept while its last one is. A server of many small
    // documents pays three times the memory for that, and half its time to open one.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    weft::cli::main()
}
