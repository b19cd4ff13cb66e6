package bus

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"lavka/libs/contract/wire"
	"lavka/libs/domain/money"
	"lavka/libs/service/natstrace"
	"lavka/libs/service/telemetry"
	"lavka/services/catalog/internal/catalog"
)

// Limits on messages that have been received but not yet processed.
const (
	maxWaiting      = 65536
	maxWaitingBytes = 32 << 20
)

// Listen passes billing's answers for this replica to take, or to takeRefund, until
// the connection is drained. Answers that can't be decoded, or for which these return
// false, are dropped: a sweeper sends their requests again.
func (b *Billing) Listen(take func(ctx context.Context, a catalog.Answer, done func()) bool,
	takeRefund func(ctx context.Context, a catalog.RefundAnswer, done func()) bool, log *slog.Logger, registry prometheus.Registerer) error {
	unreadable := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "catalog_answers_unreadable_total", Help: "Answers from billing that could not be decoded.",
	})
	registry.MustRegister(unreadable)
	sub, err := b.nc.Subscribe(b.reply, func(msg *nats.Msg) {
		answers, err := wire.DecodePurchaseAnswered(msg.Data)
		var refunds []wire.RefundAnswered
		if err != nil && wire.AboutRefunds(msg.Data) {
			refunds, err = wire.DecodeRefundAnswered(msg.Data)
		}
		if err != nil {
			unreadable.Inc()
			ctx, processing := natstrace.Process(context.Background(), wire.SubjectAnswered, msg.Header, msg.Data, 0)
			processing.Fail("can't decode an answer from billing", err)
			processing.End(ctx, log, slog.LevelDebug)
			return
		}
		b.reads.note(msg.Header)
		for _, m := range answers {
			ctx, processing := process(msg, m, len(answers))
			// The request's own log line has billing's decision; this line is for debugging.
			end := func() { processing.End(ctx, log, slog.LevelDebug) }
			if !take(ctx, answer(m), end) {
				telemetry.Note(ctx, slog.Bool("dropped", true)) // the queue is full: the sweeper sends the request again
				end()
			}
		}
		for _, m := range refunds {
			ctx, processing := processRefund(msg, m, len(refunds))
			end := func() { processing.End(ctx, log, slog.LevelDebug) }
			if !takeRefund(ctx, refundAnswer(m), end) {
				telemetry.Note(ctx, slog.Bool("dropped", true))
				end()
			}
		}
	})
	if err != nil {
		return fmt.Errorf("listen for answers: %w", err)
	}
	if err := sub.SetPendingLimits(maxWaiting, maxWaitingBytes); err != nil {
		return fmt.Errorf("limit waiting answers: %w", err)
	}
	return nil
}

// process starts the span and log line of one answer in a message; several is the
// number of answers in that message.
func process(msg *nats.Msg, m wire.PurchaseAnswered, several int) (context.Context, *natstrace.Processing) {
	ctx, processing := natstrace.ProcessPart(context.Background(), wire.SubjectAnswered, msg.Header, m.Traceparent, several, 0)
	outcome := m.Outcome
	if m.Reason != "" {
		outcome = m.Reason
	}
	telemetry.Note(ctx, slog.String("purchase_id", m.PurchaseID.String()), slog.String("outcome", outcome))
	return ctx, processing
}

func answer(m wire.PurchaseAnswered) catalog.Answer {
	if m.Outcome == wire.Settled {
		return catalog.Answer{PurchaseID: m.PurchaseID, Status: catalog.Completed, TransactionID: m.TransactionID}
	}
	a := catalog.Answer{PurchaseID: m.PurchaseID, Status: catalog.Declined, Reason: catalog.Reason(m.Reason)}
	if a.Reason == catalog.InsufficientFunds {
		a.Balance = (*money.Amount)(m.Balance)
	}
	return a
}

// processRefund is process for an answer about a refund.
func processRefund(msg *nats.Msg, m wire.RefundAnswered, several int) (context.Context, *natstrace.Processing) {
	ctx, processing := natstrace.ProcessPart(context.Background(), wire.SubjectAnswered, msg.Header, m.Traceparent, several, 0)
	outcome := m.Outcome
	if m.Reason != "" {
		outcome = m.Reason
	}
	telemetry.Note(ctx, slog.String("refund_id", m.RefundID.String()), slog.String("outcome", outcome))
	return ctx, processing
}

func refundAnswer(m wire.RefundAnswered) catalog.RefundAnswer {
	if m.Outcome == wire.Refunded {
		return catalog.RefundAnswer{RefundID: m.RefundID, Status: catalog.Completed, TransactionID: m.TransactionID}
	}
	return catalog.RefundAnswer{RefundID: m.RefundID, Status: catalog.Declined, Declined: catalog.Reason(m.Reason), Refundable: (*money.Amount)(m.Refundable)}
}
