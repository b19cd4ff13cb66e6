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

// Bounds of what has arrived and not been looked at.
const (
	maxWaiting      = 65536
	maxWaitingBytes = 32 << 20
)

// Listen hands billing's answers to this replica to take, until the connection
// is drained. What can't be read or not be taken is dropped: billing is asked
// again.
func (b *Billing) Listen(take func(ctx context.Context, a catalog.Answer, done func()) bool, log *slog.Logger, registry prometheus.Registerer) error {
	unreadable := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "catalog_answers_unreadable_total", Help: "Answers of billing that could not be understood.",
	})
	registry.MustRegister(unreadable)
	sub, err := b.nc.Subscribe(b.reply, func(msg *nats.Msg) {
		answers, err := wire.DecodePurchaseAnswered(msg.Data)
		if err != nil {
			unreadable.Inc()
			ctx, processing := natstrace.Process(context.Background(), wire.SubjectAnswered, msg.Header, msg.Data, 0)
			processing.Fail("an answer of billing can't be read", err)
			processing.End(ctx, log, slog.LevelDebug)
			return
		}
		b.reads.hear(msg.Header)
		for _, m := range answers {
			ctx, processing := process(msg, m, len(answers))
			// The request's line tells what billing has said; this one is for who looks closer.
			end := func() { processing.End(ctx, log, slog.LevelDebug) }
			if !take(ctx, answer(m), end) {
				telemetry.Note(ctx, slog.Bool("dropped", true)) // there was no room: billing is asked again
				end()
			}
		}
	})
	if err != nil {
		return fmt.Errorf("listen for answers: %w", err)
	}
	if err := sub.SetPendingLimits(maxWaiting, maxWaitingBytes); err != nil {
		return fmt.Errorf("bound waiting answers: %w", err)
	}
	return nil
}

// process starts to work on one of the answers in a message.
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
