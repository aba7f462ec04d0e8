//! The description of the API as a page for people: plain HTML, made from the document that
//! `/openapi.json` answers. No script, nothing from elsewhere.

mod html;
mod operation;
mod schema;

use serde_json::Value;

use html::{escaped, paragraph};

/// The style of the page.
pub(crate) const STYLE: &str = include_str!("../../assets/docs.css");

/// What the browser may do with the page: show it with its style.
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page. Links are relative, so that it works below a prefix.
pub(crate) fn page(document: &Value) -> String {
    let info = &document["info"];
    let (title, version) = (escaped(info["title"].as_str().unwrap_or_default()), escaped(info["version"].as_str().unwrap_or_default()));
    let groups: Vec<Group<'_>> = document["tags"].as_array().into_iter().flatten().map(|tag| Group::of(document, tag)).collect();
    let schemas: Vec<(&String, &Value)> = document["components"]["schemas"].as_object().into_iter().flatten().collect();
    let mut contents: String = groups.iter().map(Group::contents).collect();
    contents.push_str("<details><summary>Schemas</summary>\n<ul>\n");
    contents.extend(schemas.iter().map(|(name, _)| format!("<li>{}</li>\n", schema::link(name))));
    contents.push_str("</ul></details>\n");
    let sections: String = groups.iter().map(|group| group.section(document)).collect();
    let articles: String = schemas.iter().map(|(name, schema)| schema::article(name, schema)).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title} API</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<link rel=\"stylesheet\" href=\"docs/style.css\">\n</head>\n\
         <body>\n<nav aria-label=\"Contents\">\n<p><strong>{title} API</strong> {version}</p>\n{contents}</nav>\n\
         <main>\n<h1>{title} API {version}</h1>\n{about}\
         <p>For programs: <a href=\"openapi.json\">openapi.json</a>.</p>\n{keys}\
         {sections}<section>\n<h2 id=\"schemas\">Schemas</h2>\n{articles}</section>\n</main>\n</body>\n</html>\n",
        about = paragraph(info["description"].as_str()),
        keys = keys(document),
    )
}

/// How to send a key.
fn keys(document: &Value) -> String {
    let schemes = document["components"]["securitySchemes"].as_object().into_iter().flatten();
    let items: String = schemes
        .map(|(name, scheme)| {
            format!("<li>{}: {}</li>\n", html::code(name), html::prose(scheme["description"].as_str().unwrap_or_default()))
        })
        .collect();
    format!("<p>Requests carry an API key in one of these ways:</p>\n<ul>\n{items}</ul>\n")
}

/// A tag and its operations: method, path, operation.
struct Group<'a> {
    name: String,
    tag: &'a Value,
    operations: Vec<(&'a str, &'a str, &'a Value)>,
}

impl<'a> Group<'a> {
    fn of(document: &'a Value, tag: &'a Value) -> Self {
        let all = document["paths"].as_object().into_iter().flatten().flat_map(|(path, item)| {
            let methods = item.as_object().into_iter().flatten();
            methods.map(move |(method, operation)| (method.as_str(), path.as_str(), operation))
        });
        let operations = all.filter(|(.., operation)| operation["tags"][0] == tag["name"]).collect();
        Self { name: escaped(tag["name"].as_str().unwrap_or_default()), tag, operations }
    }

    fn contents(&self) -> String {
        let entry = |(method, path, operation): &(&str, &str, &Value)| {
            format!("<li><a href=\"#{}\">{}</a></li>\n", operation::anchor(operation), operation::label(method, path))
        };
        let entries: String = self.operations.iter().map(entry).collect();
        format!("<details open><summary>{}</summary>\n<ul>\n{entries}</ul></details>\n", self.name)
    }

    fn section(&self, document: &Value) -> String {
        let articles: String =
            self.operations.iter().map(|(method, path, operation)| operation::article(document, method, path, operation)).collect();
        format!("<section>\n<h2 id=\"tag-{0}\">{0}</h2>\n{1}{articles}</section>\n", self.name, paragraph(self.tag["description"].as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_the_description_is_on_the_page() {
        let document = crate::openapi::openapi();
        let page = page(&document);
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                assert!(page.contains(&format!("<article id=\"{}\">", operation::anchor(operation))), "{}", operation["operationId"]);
            }
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(page.contains(&format!("<article id=\"schema-{name}\">")), "{name}");
        }
    }

    #[test]
    fn links_of_the_page_lead_somewhere_and_not_elsewhere() {
        let page = page(&crate::openapi::openapi());
        for link in page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            match link.strip_prefix('#') {
                Some(anchor) => assert!(page.contains(&format!("id=\"{anchor}\"")), "{link}"),
                None => assert!(["docs/style.css", "openapi.json"].contains(&link), "{link}"),
            }
        }
        for forbidden in ["<script", "style=\"", "src=", "url(", "@import"] {
            assert!(!page.contains(forbidden) && !STYLE.contains(forbidden), "{forbidden}");
        }
    }
}
