"""Read a shape that is not the record's: OpenAI's, whose cost follows from `usage`."""

from msgspec import Struct

from chatcodec import ChatCompletionResponse, Envelope


class Usage(Struct):
    """How many tokens a completion took."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def cost(self, per_prompt_token: float, per_completion_token: float) -> float:
        """Return what they cost."""
        return self.prompt_tokens * per_prompt_token + self.completion_tokens * per_completion_token


class ApiError(Struct):
    """What a provider reports in place of a completion."""

    message: str = ""
    type: str | None = None


class Completion(ChatCompletionResponse, rename=None):  # a subclass's own names are camelCase too, if not so
    """A completion, or one chunk of a streamed one. Read the whole of it with `json.decode(body, Completion)`."""

    id: str | None = None
    system_fingerprint: str | None = None
    usage: Usage | None = None
    error: ApiError | None = None


class CompletionEnvelope(Envelope, rename=None):
    """The same, its choices and its error left as views, for `json.peek`, `json.stamp` and the framings' `stamp`."""

    id: str | None = None
    system_fingerprint: str | None = None
    usage: Usage | None = None
