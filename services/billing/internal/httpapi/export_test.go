package httpapi

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"lavka/libs/domain/money"
	"lavka/libs/service/export"
	"lavka/services/billing/internal/billing"
)

// export asks for a list as an export.
func (d desk) export(t *testing.T, format, target string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", target, nil)
	d.ServeHTTP(w, r.WithContext(export.With(r.Context(), format, false)))
	return w
}

// An export that is made while sales go on has, of each bill, all transactions up to
// some time: their sum is the balance after the last of them.
func TestTheSumOfAnExportIsTheBalance(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	bills := []int64{10, 11, 12}
	var lastID atomic.Int64
	sell := func(rounds, size int) {
		for range rounds {
			var items []billing.Item
			for i := range size {
				bill := bills[i%len(bills)]
				id := lastID.Add(1)
				if i%2 == 0 {
					items = append(items, &billing.Payment{ID: id, UserID: 1, BillID: bill, Amount: 1000, AmountText: "10"})
				} else {
					items = append(items, &billing.ChargeRequest{PurchaseID: uuid.New(), UserID: 1, BillID: bill, Amount: money.Amount(id%700 + 1), ExpiresAt: time.Now().Add(time.Hour)})
				}
			}
			d.store.Settle(t.Context(), items)
		}
	}
	sell(12, 300)
	stop := make(chan struct{})
	var sold atomic.Int64
	var selling sync.WaitGroup
	selling.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				sell(1, 10)
				sold.Add(1)
				time.Sleep(time.Millisecond) // so that the exports remain short
			}
		}
	})
	u := d.as(t, 1)
	for _, target := range []string{"/transactions", "/transactions?bill_id=11", "/admin/transactions?user_id=1", "/admin/transactions", "/admin/transactions?bill_id=12"} {
		sums, newest, items, end := map[int64]money.Amount{}, map[int64]money.Amount{}, 0, -1
		text := u.export(t, export.NDJSON, target)
		lines := bufio.NewScanner(text.Body)
		for lines.Scan() {
			var row struct {
				ID     int64        `json:"id"`
				BillID int64        `json:"bill_id"`
				Amount money.Amount `json:"amount"`
				After  money.Amount `json:"balance_after"`
				End    bool
				Items  int
			}
			if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
				t.Fatalf("%s: %s: %v", target, lines.Text(), err)
			}
			if row.End {
				end = row.Items
				continue
			}
			if _, ok := newest[row.BillID]; !ok {
				newest[row.BillID] = row.After
			}
			sums[row.BillID] += row.Amount
			items++
		}
		if end != items || items < 1000 {
			t.Errorf("%s: %d items, the end says %d", target, items, end)
		}
		if fmt.Sprint(sums) != fmt.Sprint(newest) {
			t.Errorf("%s: the sums are %v, the balances %v", target, sums, newest)
		}
	}
	close(stop)
	selling.Wait()
	if sold.Load() < 3 {
		t.Errorf("only %d groups were sold meanwhile: this test shows little", sold.Load())
	}
}

func TestExportsOfTheLedger(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	u := d.as(t, 1)
	d.post(t, call("1", "1", "10", "1"))
	d.post(t, call("2", "1", "10", "2.50"))
	body := reversal("5", "2", "0.50")
	d.reverse(t, signedBy(t, body, secret), body)
	d.post(t, call("3", "2", "20", "7"))
	for target, want := range map[string]string{
		"/transactions":                         "id,bill_id,amount,balance_after,type,payment_id,purchase_id,refund_id,reversal_id,created_at|10,-0.50,3,reversal,,,,5|10,2.50,3.50,payment,2,,,|10,1,1,payment,1,,,|#end 3",
		"/transactions?type=payment":            "id,bill_id,amount,balance_after,type,payment_id,purchase_id,refund_id,reversal_id,created_at|10,2.50,3.50,payment,2,,,|10,1,1,payment,1,,,|#end 2",
		"/transactions?to=2026-01-01T00:00:00Z": "id,bill_id,amount,balance_after,type,payment_id,purchase_id,refund_id,reversal_id,created_at|#end 0",
		"/admin/transactions?user_id=2":         "user_id,id,bill_id,amount,balance_after,type,payment_id,purchase_id,refund_id,reversal_id,created_at|20,7,7,payment,3,,,|#end 1",
		"/admin/reversals":                      "id,reversal_id,transaction_id,bill_id,user_id,reversed_total,debited,shortfall,created_at|2,10,1,0.50,0.50,0|#end 1",
	} {
		w := u.export(t, export.CSV, target)
		r := csv.NewReader(w.Body)
		r.FieldsPerRecord = -1
		records, err := r.ReadAll()
		if err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %v", target, w.Code, err)
		}
		// Without the ids of the rows, which are first, and the times, which are last.
		var got []string
		for i, record := range records {
			switch {
			case i == 0:
				got = append(got, strings.Join(record, ","))
			case len(record) == 2:
				got = append(got, strings.Join(record, " "))
			default:
				if at, err := time.Parse(time.RFC3339Nano, record[len(record)-1]); err != nil || time.Since(at) > time.Hour {
					t.Errorf("%s: the time %s", target, record[len(record)-1])
				}
				first := 1
				if strings.HasPrefix(target, "/admin/") {
					first = 2
				}
				got = append(got, strings.Join(record[first:len(record)-1], ","))
			}
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%s:\n%s\nwant\n%s", target, strings.Join(got, "|"), want)
		}
	}
	for target, want := range map[string]string{
		"/transactions?limit=5": "422 validation_failed", "/admin/transactions?limit=5": "422 validation_failed", "/admin/reversals?limit=1": "422 validation_failed", "/admin/transactions?type=refund": "422 unsupported_filter",
		"/transactions?bill_id=20": "404 bill_not_found", "/admin/transactions?from=2020-01-01T00:00:00Z&to=2026-01-01T00:00:00Z": "422 validation_failed",
	} {
		w := u.export(t, export.CSV, target)
		var p struct{ Code string }
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || fmt.Sprint(w.Code, " ", p.Code) != want {
			t.Errorf("%s: %d %s, want %s", target, w.Code, w.Body, want)
		}
	}
}
