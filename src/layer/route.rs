use http::Uri;
use http::request::Parts;

/// The template of the matched route, where axum has matched one.
#[cfg(feature = "axum")]
pub(super) fn template(extensions: &http::Extensions) -> Option<&str> {
    extensions.get::<axum::extract::MatchedPath>().map(axum::extract::MatchedPath::as_str)
}

#[cfg(not(feature = "axum"))]
pub(super) const fn template(_extensions: &http::Extensions) -> Option<&str> {
    None
}

/// The URI as the client sent it, before nested routers took their prefixes off.
pub(super) fn original_uri(parts: &Parts) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(axum::extract::OriginalUri(uri)) = parts.extensions.get() {
        return uri;
    }
    &parts.uri
}
