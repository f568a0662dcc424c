//! What the functions of a process belong to, as a sampling profiler names them.

use std::collections::BTreeMap;

/// A part of what a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Kernel,
    /// Also of a store that has an allocator of its own.
    Allocator,
    /// Bytes that are moved, compared or cleared.
    Moves,
    Digest,
    Http,
    Runtime,
    /// The client of a store.
    Client,
    /// The library under measurement, and the crates that it alone uses.
    Library,
    /// The interpreter of a store.
    Scripts,
    /// A store, but for all of that.
    Store,
    /// Functions of the standard library that could belong to anyone.
    Unknown,
}

/// The first name of a path tells whose a function is. Nobody has an entry: then the next name does.
const CRATES: &[(&[&str], Part)] = &[
    (&["blake3", "sha2", "digest", "block_buffer", "xxhash_rust", "twox_hash"], Part::Digest),
    (
        &[
            "axum",
            "axum_core",
            "bytes",
            "http",
            "http_body",
            "http_body_util",
            "httparse",
            "httpdate",
            "hyper",
            "hyper_util",
            "itoa",
            "matchit",
            "mime",
            "rivals",
            "tower",
            "tower_layer",
            "tower_service",
        ],
        Part::Http,
    ),
    (
        &["futures_core", "futures_util", "mio", "parking_lot", "slab", "tokio", "tokio_util"],
        Part::Runtime,
    ),
    (&["arcstr", "combine", "fred", "futures_sink", "redis", "redis_protocol"], Part::Client),
    (&["alloc", "core", "hashbrown", "std"], Part::Unknown),
];

impl Part {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Allocator => "allocator",
            Self::Moves => "bytes moved, compared, cleared",
            Self::Digest => "digests",
            Self::Http => "hyper, axum, tower, http, handler",
            Self::Runtime => "tokio, futures",
            Self::Client => "client of the store",
            Self::Library => "library",
            Self::Scripts => "Lua",
            Self::Store => "Redis itself",
            Self::Unknown => "standard library, for anyone",
        }
    }

    /// Whose a function of this name in this file is.
    fn of(symbol: &str, file: &str) -> Self {
        let file = file.rsplit('/').next().unwrap_or(file);
        if file.starts_with("[kernel") || file.starts_with("[vdso") {
            return Self::Kernel;
        }
        if file.contains("jemalloc") {
            return Self::Allocator;
        }
        if file.contains("lua") {
            return Self::Scripts;
        }
        if file.contains("libc.so") || file.contains("libm.so") {
            return Self::of_libc(symbol);
        }
        if file.contains("redis") || file.contains("valkey") {
            return Self::Store;
        }
        Self::of_path(symbol)
    }

    fn of_libc(symbol: &str) -> Self {
        let is = |names: &[&str]| names.iter().any(|name| symbol.contains(name));
        if is(&["alloc", "free", "int_", "unlink_chunk", "tcache"]) {
            Self::Allocator
        } else if is(&["mem", "str"]) {
            Self::Moves
        } else {
            // What calls the kernel.
            Self::Kernel
        }
    }

    fn of_path(symbol: &str) -> Self {
        let part = |name: &str| {
            let known = CRATES.iter().find(|(names, _)| names.contains(&name));
            known.map_or(Self::Library, |(_, part)| *part)
        };
        let owned = crates_in(symbol).map(part).find(|part| *part != Self::Unknown);
        owned.unwrap_or(Self::Unknown)
    }
}

/// The first names of all paths in a symbol.
fn crates_in(symbol: &str) -> impl Iterator<Item = &str> {
    let paths = symbol.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    paths
        .filter_map(|path| path.split_once("::").map(|(first, _)| first))
        .filter(|first| !first.is_empty())
}

/// How many samples fell on each part.
#[derive(Default)]
pub(crate) struct Shares(BTreeMap<Part, u32>);

impl Shares {
    /// Counts what `perf script --fields ip,sym,dso` prints.
    pub(crate) fn count(&mut self, text: &str) {
        for line in text.lines() {
            let named = line.trim().split_once(' ').and_then(|(_, rest)| rest.rsplit_once(" ("));
            if let Some((symbol, file)) = named {
                *self.0.entry(Part::of(symbol, file.trim_end_matches(')'))).or_default() += 1;
            }
        }
    }

    /// What part of the whole this is.
    pub(crate) fn of(&self, part: Part) -> f64 {
        let all: u32 = self.0.values().sum();
        f64::from(self.0.get(&part).copied().unwrap_or(0)) / f64::from(all.max(1))
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> {
        self.0.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_belongs_to_the_crate_that_its_name_begins_with() {
        for (symbol, file, part) in [
            ("tcp_sendmsg", "[kernel.kallsyms]", Part::Kernel),
            ("_int_malloc", "/usr/lib/libc.so.6", Part::Allocator),
            ("__memmove_avx_unaligned_erms", "/usr/lib/libc.so.6", Part::Moves),
            ("epoll_wait", "/usr/lib/libc.so.6", Part::Kernel),
            ("luaV_execute", "/usr/lib/liblua5.1.so.0", Part::Scripts),
            ("call", "/usr/bin/redis-check-rdb", Part::Store),
            ("sha2::sha256::x86_sha::compress", "rivals", Part::Digest),
            ("<hyper::body::Incoming as http_body::Body>::poll_frame", "rivals", Part::Http),
            (
                "core::ptr::drop_in_place<tower_idempotency::layer::Arrived>",
                "rivals",
                Part::Library,
            ),
            ("<alloc::vec::Vec<T,A> as core::ops::drop::Drop>::drop", "rivals", Part::Unknown),
            ("<redis::types::Value as core::clone::Clone>::clone", "rivals", Part::Client),
        ] {
            assert_eq!(Part::of(symbol, file), part, "{symbol}");
        }
    }

    #[test]
    fn samples_are_counted_by_part() {
        let mut shares = Shares::default();
        shares.count("  ff81 tcp_ack ([kernel.kallsyms])\n 55 tokio::run<A, B> (/x/rivals)\n\n");
        shares.count("  ff82 tcp_ack ([kernel.kallsyms])\n 7f [unknown] (/x/redis-server)\n");
        assert_eq!(
            [Part::Kernel, Part::Runtime, Part::Store].map(|part| shares.of(part)),
            [0.5, 0.25, 0.25]
        );
    }
}
