package main

import (
	"context"
	"fmt"
	"net/http"
	"reflect"

	"strangers.example/clients/oapi/auth"
	"strangers.example/clients/oapi/billing"
	"strangers.example/clients/oapi/catalog"
)

// oapi is the clients of oapi-codegen.
type oapi struct {
	auth    *auth.ClientWithResponses
	billing *billing.ClientWithResponses
	catalog *catalog.ClientWithResponses
}

func newOapi(gateway string) (shop, error) {
	var s oapi
	var err error
	if s.auth, err = auth.NewClientWithResponses(gateway); err != nil {
		return nil, err
	}
	if s.billing, err = billing.NewClientWithResponses(gateway); err != nil {
		return nil, err
	}
	s.catalog, err = catalog.NewClientWithResponses(gateway)
	return s, err
}

func bearer(token string) func(context.Context, *http.Request) error {
	return func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+token)
		return nil
	}
}

// oapiAnswer returns the decoded body for the response's status.
func oapiAnswer(response any, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	v := reflect.ValueOf(response).Elem()
	raw := v.FieldByName("HTTPResponse").Interface().(*http.Response)
	if raw.StatusCode == http.StatusNoContent {
		return answer{}, nil
	}
	for _, field := range []string{"JSON", "ApplicationproblemJSON"} {
		if body := v.FieldByName(fmt.Sprint(field, raw.StatusCode)); body.IsValid() && !body.IsNil() {
			return understood(body.Interface(), raw.Header.Get("Idempotent-Replayed"))
		}
	}
	return answer{}, fmt.Errorf("%w: %s %s", errNothing, raw.Status, v.FieldByName("Body").Bytes())
}

func (s oapi) Register(ctx context.Context, login, password string) (answer, error) {
	return oapiAnswer(s.auth.RegisterWithResponse(ctx, auth.NewUser{Login: login, Password: password}))
}

func (s oapi) Activate(ctx context.Context, token string) (answer, error) {
	return oapiAnswer(s.auth.ActivateWithResponse(ctx, token))
}

func (s oapi) LogIn(ctx context.Context, login, password string) (answer, error) {
	return oapiAnswer(s.auth.LoginWithResponse(ctx, auth.Credentials{Login: login, Password: password}))
}

func (s oapi) Me(ctx context.Context, token string) (answer, error) {
	return oapiAnswer(s.auth.GetMeWithResponse(ctx, bearer(token)))
}

func (s oapi) Keys(ctx context.Context) (answer, error) {
	return oapiAnswer(s.auth.GetKeysWithResponse(ctx))
}

func (s oapi) Disable(ctx context.Context, token string, user int64) (answer, error) {
	return oapiAnswer(s.auth.PatchUserWithResponse(ctx, user, auth.UserPatch{Enabled: false}, bearer(token)))
}

func (s oapi) Pay(ctx context.Context, signature string, id, user, bill int64, amount float64) (answer, error) {
	return oapiAnswer(s.billing.PaymentWebhookWithResponse(ctx, nil, billing.Payment{Signature: &signature, TransactionId: id, UserId: user, BillId: bill, Amount: amount}))
}

func (s oapi) Bill(ctx context.Context, token string, id int64) (answer, error) {
	return oapiAnswer(s.billing.GetBillWithResponse(ctx, id, nil, bearer(token)))
}

func (s oapi) Bills(ctx context.Context, token string) (answer, error) {
	return oapiAnswer(s.billing.ListBillsWithResponse(ctx, nil, bearer(token)))
}

func (s oapi) Transactions(ctx context.Context, token string) (answer, error) {
	return oapiAnswer(s.billing.ListTransactionsWithResponse(ctx, nil, bearer(token)))
}

func (s oapi) Customer(ctx context.Context, token string, user int64) (answer, error) {
	return oapiAnswer(s.billing.GetCustomerWithResponse(ctx, user, bearer(token)))
}

func (s oapi) Customers(ctx context.Context, token string) (answer, error) {
	return oapiAnswer(s.billing.ListCustomersWithResponse(ctx, nil, bearer(token)))
}

func (s oapi) AddProduct(ctx context.Context, token, title, description string, price float64) (answer, error) {
	return oapiAnswer(s.catalog.CreateProductWithResponse(ctx, &catalog.CreateProductParams{}, catalog.NewProduct{Title: title, Description: description, Price: price}, bearer(token)))
}

func (s oapi) Product(ctx context.Context, token string, id int64) (answer, error) {
	return oapiAnswer(s.catalog.GetProductWithResponse(ctx, id, nil, bearer(token)))
}

func (s oapi) Products(ctx context.Context, token, query string) (answer, error) {
	return oapiAnswer(s.catalog.ListProductsWithResponse(ctx, &catalog.ListProductsParams{Q: &query}, bearer(token)))
}

func (s oapi) RemoveProduct(ctx context.Context, token string, id int64) (answer, error) {
	return oapiAnswer(s.catalog.DeleteProductWithResponse(ctx, id, nil, bearer(token)))
}

func (s oapi) Buy(ctx context.Context, token, key string, product, bill int64, expected float64) (answer, error) {
	order := catalog.NewPurchase{ProductId: product, BillId: bill, ExpectedPrice: &expected}
	return oapiAnswer(s.catalog.CreatePurchaseWithResponse(ctx, &catalog.CreatePurchaseParams{IdempotencyKey: &key}, order, bearer(token)))
}

func (s oapi) Purchases(ctx context.Context, token string) (answer, error) {
	return oapiAnswer(s.catalog.ListPurchasesWithResponse(ctx, nil, bearer(token)))
}
