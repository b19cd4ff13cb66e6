package httpapi

import (
	"context"

	"lavka/libs/service/adminlog"
	"lavka/services/auth/api"
)

// ListLog answers GET /auth/log.
func (h *Handlers) ListLog(ctx context.Context, r api.ListLogRequestObject) (api.ListLogResponseObject, error) {
	return respond(adminlog.Page(ctx, h.Log, r.Params.Subject, r.Params.Limit, r.Params.Cursor, toLogEntry))
}

func toLogEntry(e adminlog.Entry) api.LogEntry {
	entry := api.LogEntry{Id: e.ID, At: e.At.UTC(), ActorId: e.Actor, Action: e.Action, Subject: e.Subject}
	if e.Before != nil {
		entry.Before = &e.Before
	}
	if e.After != nil {
		entry.After = &e.After
	}
	if e.TraceID != "" {
		entry.TraceId = &e.TraceID
	}
	return entry
}
