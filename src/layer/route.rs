use http::{Extensions, Uri};

/// The template of the matched route, where axum has matched one.
#[cfg(feature = "axum")]
pub(super) fn template(extensions: &Extensions) -> Option<&str> {
    extensions.get::<axum::extract::MatchedPath>().map(axum::extract::MatchedPath::as_str)
}

#[cfg(not(feature = "axum"))]
pub(super) const fn template(_extensions: &Extensions) -> Option<&str> {
    None
}

/// The URI as the client sent it, before nested routers took their prefixes off.
#[cfg(feature = "axum")]
pub(super) fn original_uri<'a>(extensions: &'a Extensions, uri: &'a Uri) -> &'a Uri {
    extensions.get().map_or(uri, |axum::extract::OriginalUri(uri)| uri)
}

#[cfg(not(feature = "axum"))]
pub(super) const fn original_uri<'a>(_extensions: &'a Extensions, uri: &'a Uri) -> &'a Uri {
    uri
}
