//! The two protocols: server to spawner, and server to init. Frames of JSON, a hello with a version
//! first, unknown fields tolerated. The programs on both sides may be of different releases.

pub mod frame;
pub mod init;
pub mod spawner;

/// The version that this build speaks.
pub const VERSION: u32 = 1;

/// Whether this build understands a peer of that version: its own and the one before.
pub fn speaks(version: u32) -> bool {
    version >= 1 && (version == VERSION || Some(version) == VERSION.checked_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_version_and_the_one_before_are_understood() {
        assert!(speaks(VERSION));
        assert!(!speaks(0));
        assert!(!speaks(VERSION + 1));
        assert!(!speaks(u32::MAX));
        assert_eq!(speaks(VERSION.saturating_sub(1)), VERSION > 1);
    }
}
