//! The source and the method that a path names.

use super::push::Target;

/// `[/{source} | /hooks/{source}]/package.Service/Method`; `None` for any other path.
pub(super) fn target(path: &str) -> Option<Target> {
    let (service, method) = path.rsplit_once('/')?;
    let (prefix, service) = service.rsplit_once('/')?;
    if service.is_empty() || method.is_empty() {
        return None;
    }
    let source = match prefix.strip_prefix("/hooks/") {
        Some(name) => Some(name),
        None if prefix.is_empty() => None,
        None => Some(prefix.strip_prefix('/')?),
    };
    if source.is_some_and(|name| name.is_empty() || name.contains('/')) {
        return None;
    }
    Some(Target {
        source: source.map(str::to_owned),
        method: format!("/{service}/{method}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_name_a_source_before_the_method() {
        let method = "/a.b.Service/Method";
        let cases = [
            ("/a.b.Service/Method", Some(None)),
            ("/shop/a.b.Service/Method", Some(Some("shop"))),
            ("/hooks/shop/a.b.Service/Method", Some(Some("shop"))),
            ("/hooks/a.b.Service/Method", Some(Some("hooks"))),
            ("/hooks//a.b.Service/Method", None),
            ("//a.b.Service/Method", None),
            ("/x/y/a.b.Service/Method", None),
            ("x/a.b.Service/Method", None),
            ("/a.b.Service/", None),
            ("a.b.Service/Method", None),
            ("//Method", None),
            ("/", None),
            ("", None),
        ];
        for (path, expected) in cases {
            let expected = expected.map(|source: Option<&str>| Target {
                source: source.map(str::to_owned),
                method: method.to_owned(),
            });
            assert_eq!(target(path), expected, "{path}");
        }
    }
}
