package httpserver

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"lavka/libs/domain/problem"
	"lavka/libs/service/strictjson"
)

// MaxBody is the maximum size of a request's body, in bytes.
const MaxBody = 64 << 10

var (
	tooLargeProblem  = problem.New(problem.TooLarge, "body_too_large", "the body is larger than this route accepts")
	codingProblem    = problem.New(problem.UnsupportedMediaType, "unsupported_media_type", "send the body as it is, without Content-Encoding")
	mediaTypeProblem = problem.New(problem.UnsupportedMediaType, "unsupported_media_type", "send the body as Content-Type: application/json")
)

// binder reads a body as strict JSON. The generated code reads the parameters.
type binder struct{}

// Bind fills v from the body. Its errors are problems: 415, 413, 400, 422 or 503.
func (binder) Bind(v any, c echo.Context) error {
	h := c.Request().Header
	mediaType, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || mediaType != "application/json" || len(h["Content-Type"]) > 1 {
		return mediaTypeProblem
	}
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return codingProblem
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return mediaTypeProblem
	}
	body, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return bodyError(err)
	}
	return strictjson.Unmarshal(body, v)
}

// ReadBody returns a body of at most limit bytes as it is. Its errors are problems:
// 413, 400 or 503.
func ReadBody(c echo.Context, limit int64) ([]byte, error) {
	if c.Request().ContentLength > limit {
		return nil, tooLargeProblem
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), c.Request().Body, limit))
	if err != nil {
		return nil, bodyError(err)
	}
	return body, nil
}

func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return tooLargeProblem
	}
	var p *problem.Error
	if errors.As(err, &p) {
		return p
	}
	return problem.New(problem.Malformed, "malformed", "the body could not be read completely").Because(err)
}
