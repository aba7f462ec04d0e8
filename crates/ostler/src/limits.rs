//! Every named limit of the command line's client side.

use std::time::Duration;

/// How long one plain request may take. Streams may take as long as they like.
pub(crate) const REQUEST: Duration = Duration::from_secs(30);
/// How long connecting may take, of streams as well.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);
/// A silent connection is probed this often, so that a dead machine is noticed.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(30);
/// Bytes of one answer; a page of events has at most 32 MiB and the event that made it full.
pub(crate) const ANSWER_BYTES: usize = 128 << 20;
/// Bytes of an API key's file.
pub(crate) const KEY_FILE_BYTES: u64 = 4 << 10;
/// Bytes of a text or of JSON read from a file or from standard input.
pub(crate) const INPUT_BYTES: u64 = 16 << 20;

/// The first pause before a lost stream is opened again; each further one is twice as long.
pub(crate) const RECONNECT_FIRST: Duration = Duration::from_millis(250);
/// The longest pause between two tries.
pub(crate) const RECONNECT_MOST: Duration = Duration::from_secs(5);
/// How long a lost stream is tried again before it is given up.
pub(crate) const RECONNECT_FOR: Duration = Duration::from_secs(300);

/// Rows of a list unless `--limit` or `--all` says otherwise.
pub(crate) const ROWS: usize = 20;
/// Rows asked for at once; every list serves that many.
pub(crate) const PAGE: usize = 100;
/// Events of a tail unless `--last` says otherwise.
pub(crate) const TAIL_EVENTS: usize = 50;
/// Sessions that are looked at side by side to find out for what they wait.
pub(crate) const LOOKS_AT_ONCE: usize = 8;
/// Pages of calls that are searched for those that wait; they are among the newest.
pub(crate) const CALL_PAGES: usize = 10;
/// Characters of one cell of a table.
pub(crate) const CELL_CHARS: usize = 200;
/// Characters of a server's error message that are shown.
pub(crate) const MESSAGE_CHARS: usize = 2_000;
/// Columns of the narrowest terminal a table is fitted to.
pub(crate) const TABLE_COLUMNS: u16 = 60;

/// How long a completion may take, server included.
pub(crate) const COMPLETION: Duration = Duration::from_secs(1);
/// Things offered by a completion.
pub(crate) const COMPLETIONS: usize = 100;

/// The first pause before egress is started again; each further one is twice as long.
pub(crate) const EGRESS_PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest.
pub(crate) const EGRESS_PAUSE_MOST: Duration = Duration::from_secs(5);
/// How long egress must have run for its end to count as the first.
pub(crate) const EGRESS_STEADY: Duration = Duration::from_secs(30);
/// How often the keeper looks whether egress answers, and whether the machine has other name servers.
pub(crate) const EGRESS_LOOK: Duration = Duration::from_secs(5);
/// Answers in a row that egress may owe until it counts as hanging.
pub(crate) const EGRESS_SILENCES: u32 = 2;
/// How long a command may take to print the key of vaults. A person may have to touch something.
pub(crate) const KEY_COMMAND: Duration = Duration::from_secs(120);
/// The pause between two looks whether it has ended.
pub(crate) const KEY_COMMAND_LOOK: Duration = Duration::from_millis(10);
/// How long egress may take to end when it is no more needed.
pub(crate) const EGRESS_ENDS: Duration = Duration::from_secs(2);

/// The pause between two looks whether packages are installed.
pub(crate) const PACKAGES_LOOK: Duration = Duration::from_millis(500);
/// How long egress may take to have other keys.
pub(crate) const EGRESS_TAKES: Duration = Duration::from_secs(15);
/// Bytes of a question to a running server on its own machine.
pub(crate) const ADMIN_BYTES: u64 = 4 << 10;
/// How long it may take to be asked.
pub(crate) const ADMIN_ASK: Duration = Duration::from_secs(5);
/// Credentials that are named in a message.
pub(crate) const CREDENTIALS_NAMED: usize = 5;
