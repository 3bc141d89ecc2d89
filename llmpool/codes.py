"""What the names and numbers mean that LLM APIs give their errors."""

from __future__ import annotations

from llmpool import errors

_CLASSES: dict[type[errors.ProviderError], str] = {
    errors.ContextLengthExceeded: """
        context_length_exceeded context_window_exceeded exceed_context_size_error
        request_too_large tokens_limit_reached""",
    errors.ContentFiltered: """
        content_filter content_filtered content_policy_violation data_inspection_failed
        moderation_blocked responsibleaipolicyviolation""",
    errors.QuotaExhausted: """
        billing_error billing_hard_limit_reached billing_not_active credit_balance_exhausted
        enforced_spend_limit_reached failed_precondition insufficient_quota
        organization_spend_limit_exceeded organization_usage_limit_exceeded payment_required
        project_spend_limit_exceeded quota_per_day servicequotaexceededexception""",
    errors.AuthenticationFailed: """
        accessdeniedexception account_deactivated api_key_invalid authentication_error
        expiredtokenexception invalid_api_key invalidsignatureexception permission_denied
        permission_error unauthenticated unrecognizedclientexception
        unsupported_country_region_territory""",
    errors.RateLimited: """
        rate_limit_error rate_limit_exceeded rate_limited ratelimitreached resource_exhausted
        slow_down throttlingexception toomanyrequestsexception""",
    errors.InvalidRequest: """
        deploymentnotfound invalid_model model_decommissioned model_not_found not_found
        not_found_error resourcenotfoundexception unknown_model""",
    errors.ServerFault: """
        capacity_exceeded engine_overloaded_error loading_model modelnotreadyexception overloaded
        overloaded_error provider_overloaded queue_full server_is_overloaded
        serviceunavailableexception""",
}
_BY_CODE = {code: kind for kind, codes in _CLASSES.items() for code in codes.split()}

LOADING_CODE = "loading_model"
MODEL_CODES = frozenset(_CLASSES[errors.InvalidRequest].split())
BUSY_CODES = frozenset(_CLASSES[errors.ServerFault].split())
MODEL_STATUSES = frozenset({404, 405, 410})
"""Statuses of a page, and so of a model or of a deployment's URL, that is not there."""

_BY_STATUS: dict[int, type[errors.ProviderError]] = {
    400: errors.InvalidRequest,
    401: errors.AuthenticationFailed,
    402: errors.QuotaExhausted,
    403: errors.AuthenticationFailed,
    404: errors.InvalidRequest,
    405: errors.InvalidRequest,
    407: errors.ConnectionFailed,
    410: errors.InvalidRequest,
    413: errors.ContextLengthExceeded,
    414: errors.InvalidRequest,
    422: errors.InvalidRequest,
    429: errors.RateLimited,
    431: errors.InvalidRequest,
}


def class_of_code(code: str, status: int | None) -> type[errors.ProviderError] | None:
    """Give the error that an API's *code*, in lower case, stands for; None when it says nothing."""
    if status == 413:
        # Groq puts the code of a rate limit on a request that no wait makes small enough.
        return errors.ContextLengthExceeded
    if code == "failed_precondition" and status not in (None, 400):
        return None
    return _BY_CODE.get(code)


def class_of_status(status: int | None) -> type[errors.ProviderError]:
    """
    Give the error that an HTTP status stands for when nothing else is known.

    An odd 4xx is the server's fault: were it the caller's, one gateway gone wrong would end calls that
    every other deployment could answer.
    """
    return _BY_STATUS.get(status or 0, errors.ServerFault)
