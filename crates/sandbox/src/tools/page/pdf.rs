//! The text of a PDF.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a reader would read, page after page.
pub(super) fn text(bytes: &[u8]) -> Result<String, String> {
    // The library gives up some damaged files by panicking.
    match catch_unwind(AssertUnwindSafe(|| pdf_extract::extract_text_from_mem(bytes))) {
        Ok(Ok(text)) if text.trim().is_empty() => Err("The PDF has no text; it may be scanned images.".into()),
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(format!("The PDF cannot be read: {error}")),
        Err(_) => Err("The PDF cannot be read: it is damaged, or uses what is not known here.".into()),
    }
}
