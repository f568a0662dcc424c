use std::collections::HashMap;

/// What is read from a profile of callgrind
/// (<https://valgrind.org/docs/manual/cl-format.html>).
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Profile {
    pub(crate) instructions: u64,
    /// Those of SHA-256 itself.
    pub(crate) hash: u64,
    /// Calls that may allocate.
    pub(crate) allocations: u64,
}

/// What a function counts as.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Hash,
    Allocation,
    Other,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            "malloc" | "calloc" | "realloc" | "posix_memalign" | "aligned_alloc" => {
                Self::Allocation
            }
            _ if name.contains("sha2::sha256") => Self::Hash,
            _ => Self::Other,
        }
    }
}

impl Profile {
    pub(crate) fn parse(text: &str) -> Self {
        let mut profile = Self::default();
        // A name is written once; later its number stands for it.
        let mut kinds = HashMap::new();
        let mut kind = |value: &str| {
            let (number, name) = value.split_once(' ').unwrap_or((value, ""));
            if !name.is_empty() {
                kinds.insert(number.to_owned(), Kind::of(name));
            }
            kinds[number]
        };
        let (mut current, mut called) = (Kind::Other, Kind::Other);
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(value) = line.strip_prefix("fn=") {
                current = kind(value);
            } else if let Some(value) = line.strip_prefix("cfn=") {
                called = kind(value);
            } else if let Some(value) = line.strip_prefix("calls=") {
                if called == Kind::Allocation && current != Kind::Allocation {
                    profile.allocations += first_number(value);
                }
                // What the callee cost; it is listed with the callee too.
                lines.next();
            } else if line
                .starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first))
            {
                let cost = line.split(' ').nth(1).map_or(0, first_number);
                profile.instructions += cost;
                if current == Kind::Hash {
                    profile.hash += cost;
                }
            }
        }
        profile
    }
}

fn first_number(text: &str) -> u64 {
    let digits = text.split(' ').next().unwrap_or_default();
    digits.parse().expect("a count is a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_those_of_functions_themselves_and_calls_that_allocate_are_counted() {
        let text = "\
events: Ir

fn=(1) main
fl=(1) main.rs
10 5
+2 7
cfn=(2) malloc
calls=3 20
* 900
cfn=(3) sha2::sha256::soft::compress
calls=1 7
-1 400

fn=(2)
20 900
cfn=(4) realloc
calls=9 3
* 1

fn=(3)
7 400

summary: 1312
";
        let expected = Profile { instructions: 1312, hash: 400, allocations: 3 };
        assert_eq!(Profile::parse(text), expected);
    }
}
