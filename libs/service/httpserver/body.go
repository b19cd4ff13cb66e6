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
	mediaTypeProblem = problem.New(problem.UnsupportedMediaType, "unsupported_media_type", "send the body as Content-Type: application/json")
)

// bounded refuses bodies over a limit: at once if Content-Length exceeds it,
// else while the body is read.
func bounded(limit int64) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			r := c.Request()
			if r.ContentLength > limit {
				return tooLargeProblem
			}
			if r.Body != nil && r.Body != http.NoBody {
				r.Body = http.MaxBytesReader(c.Response(), r.Body, limit)
			}
			return next(c)
		}
	}
}

// binder reads a body as strict JSON. The generated code reads the parameters.
type binder struct{}

// Bind fills v from the body. Its errors are problems: 415, 413, 400 or 422.
func (binder) Bind(v any, c echo.Context) error {
	mediaType, params, err := mime.ParseMediaType(c.Request().Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return mediaTypeProblem
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
// 413 or 400.
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
	return problem.New(problem.Malformed, "malformed", "the body could not be read completely").Because(err)
}
