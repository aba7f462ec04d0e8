//! Every named limit of the ways to MCP servers.

use std::time::Duration;

/// How long connecting may take, with both ways to begin.
pub const CONNECT_TIME: Duration = Duration::from_secs(30);
/// How long listing all tools may take.
pub const LIST_TIME: Duration = Duration::from_secs(30);
/// How long a call may take.
pub const CALL_TIME: Duration = Duration::from_secs(600);
/// Pages of a list of tools.
pub const PAGES: usize = 32;
/// Tools of one server.
pub const TOOLS: usize = 256;
/// Bytes of the schema of one tool.
pub const SCHEMA_BYTES: usize = 64 << 10;
/// Bytes of all that one server lists.
pub const LIST_BYTES: usize = 1 << 20;
/// Characters of a tool's name.
pub const NAME_CHARS: usize = 256;
/// Bytes of one event of a stream; egress passes no larger answer on either.
pub const EVENT_BYTES: usize = 6 << 20;
/// Characters of the text of a result.
pub const RESULT_CHARS: usize = 100_000;
/// Characters of base64 of a picture.
pub const IMAGE_CHARS: usize = 5 << 20;
/// Pictures of a result.
pub const IMAGES: usize = 20;
/// Bytes of an answer that are shown when a credential is tried.
pub const SHOWN_BYTES: usize = 4 << 10;
/// Characters of what is told of a failure.
pub const MESSAGE_CHARS: usize = 600;
