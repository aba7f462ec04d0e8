//! Pages that the server fetched, made into text inside a real sandbox. What they do to their worker is an error and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ostler_sandbox::PAGE;
use serde_json::{Value, json};

use crate::home::{Home, request, sh, text};

fn page(content_type: &str, content: &[u8]) -> Value {
    json!({"url": "https://a.test/", "content_type": content_type, "content": STANDARD.encode(content)})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_read_and_a_large_one_is_in_a_file() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    let short = inside.run(&request(PAGE, page("text/html", b"<h1>Hi</h1>"))).await.unwrap();
    assert!(!short.is_error);
    assert_eq!(text(&short), "URL: https://a.test/\n\n# Hi");
    let long = "0123456789\n".repeat(900_000);
    let outcome = inside.run(&request(PAGE, page("text/plain", long.as_bytes()))).await.unwrap();
    let shown = text(&outcome);
    assert!(!outcome.is_error && shown.len() < 100_000, "{}", shown.len());
    let file = shown.rsplit_once("the full output is in ").unwrap().1.trim_end_matches([']', '\n']);
    assert!(sh(&inside, &format!("tail -c 200 {file}")).await.contains("[truncated: these are the first"));
    home.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_its_worker_breaks_nothing_else() {
    let home = Home::new().await;
    let (_, inside) = home.sandbox().await;
    let pdf = |pages: &str| {
        format!(
            "%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n2 0 obj\n{pages}\nendobj\ntrailer\n<< /Size 3 /Root 1 0 R >>\n%%EOF\n"
        )
    };
    for (name, content_type, content) in [
        ("its own child", "application/pdf", pdf("<< /Type /Pages /Kids [2 0 R] /Count 1 >>").into_bytes()),
        ("deep lists", "application/pdf", pdf(&"[".repeat(200_000)).into_bytes()),
        (
            "random",
            "application/pdf",
            b"%PDF-1.7\n".iter().copied().chain((0..200_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])).collect(),
        ),
        ("an archive", "application/zip", b"PK\x03\x04".to_vec()),
    ] {
        let outcome = inside.run(&request(PAGE, page(content_type, &content))).await.unwrap();
        assert!(outcome.is_error, "{name}: {}", text(&outcome));
    }
    // How deep is too deep depends on how this was built.
    let deep = "<div>".repeat(20_000);
    inside.run(&request(PAGE, page("text/html", deep.as_bytes()))).await.unwrap();
    let wrong = inside.run(&request(PAGE, json!({"url": "u", "content": "not base64!"}))).await.unwrap();
    assert!(wrong.is_error && text(&wrong).contains("Invalid input"));
    assert_eq!(sh(&inside, "echo alive").await, "alive");
    home.end().await;
}
