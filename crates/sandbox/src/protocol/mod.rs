//! The two protocols: server to spawner, and server to init. Frames of JSON, a hello with a version
//! first, unknown fields tolerated. The programs on both sides may be of different releases: a server says hello
//! in its own version, and in the one before it to a peer that does not know its own.

pub mod frame;
pub mod init;
pub mod spawner;

/// The version that this build speaks.
pub const VERSION: u32 = 2;

/// The oldest version that this build speaks.
pub const OLDEST: u32 = VERSION - 1;

/// Whether this build understands a peer of that version: its own and the one before.
pub fn speaks(version: u32) -> bool {
    (OLDEST..=VERSION).contains(&version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_version_and_the_one_before_are_understood() {
        assert!(speaks(VERSION) && speaks(VERSION - 1));
        assert!(!speaks(VERSION - 2) && !speaks(VERSION + 1) && !speaks(u32::MAX));
    }
}
