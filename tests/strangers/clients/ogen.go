package main

import (
	"context"
	"reflect"

	"strangers.example/clients/ogen/auth"
	"strangers.example/clients/ogen/billing"
	"strangers.example/clients/ogen/catalog"
)

// ogen is the clients of ogen.
type ogen struct {
	auth    *auth.Client
	billing *billing.Client
	catalog *catalog.Client
}

func newOgen(gateway string) (shop, error) {
	var s ogen
	var err error
	if s.auth, err = auth.NewClient(gateway, authToken{}); err != nil {
		return nil, err
	}
	if s.billing, err = billing.NewClient(gateway, billingToken{}); err != nil {
		return nil, err
	}
	s.catalog, err = catalog.NewClient(gateway, catalogToken{})
	return s, err
}

type tokenKey struct{}

func with(ctx context.Context, token string) context.Context {
	return context.WithValue(ctx, tokenKey{}, token)
}

func tokenOf(ctx context.Context) string {
	token, _ := ctx.Value(tokenKey{}).(string)
	return token
}

type (
	authToken    struct{}
	billingToken struct{}
	catalogToken struct{}
)

func (authToken) Bearer(ctx context.Context, _ auth.OperationName) (auth.Bearer, error) {
	return auth.Bearer{Token: tokenOf(ctx)}, nil
}

func (billingToken) Bearer(ctx context.Context, _ billing.OperationName) (billing.Bearer, error) {
	return billing.Bearer{Token: tokenOf(ctx)}, nil
}

func (billingToken) PaymentToken(ctx context.Context, _ billing.OperationName) (billing.PaymentToken, error) {
	return billing.PaymentToken{Token: tokenOf(ctx)}, nil
}

func (catalogToken) Bearer(ctx context.Context, _ catalog.OperationName) (catalog.Bearer, error) {
	return catalog.Bearer{Token: tokenOf(ctx)}, nil
}

// ogenAnswer returns the decoded body. A response with headers has it in a field.
func ogenAnswer(response any, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	v, replayed := reflect.ValueOf(response).Elem(), ""
	if header := v.FieldByName("IdempotentReplayed"); header.IsValid() {
		replayed = header.FieldByName("Value").String()
	}
	if body := v.FieldByName("Response"); body.IsValid() {
		v = body
	}
	return understood(v.Addr().Interface(), replayed)
}

func (s ogen) Register(ctx context.Context, login, password string) (answer, error) {
	return ogenAnswer(s.auth.Register(ctx, &auth.NewUser{Login: login, Password: auth.NewPassword(password)}))
}

func (s ogen) Activate(ctx context.Context, token string) (answer, error) {
	return ogenAnswer(s.auth.Activate(ctx, auth.ActivateParams{Token: token}))
}

func (s ogen) LogIn(ctx context.Context, login, password string) (answer, error) {
	return ogenAnswer(s.auth.Login(ctx, &auth.Credentials{Login: login, Password: password}))
}

func (s ogen) Me(ctx context.Context, token string) (answer, error) {
	return ogenAnswer(s.auth.GetMe(with(ctx, token)))
}

func (s ogen) Keys(ctx context.Context) (answer, error) { return ogenAnswer(s.auth.GetKeys(ctx)) }

func (s ogen) Disable(ctx context.Context, token string, user int64) (answer, error) {
	return ogenAnswer(s.auth.PatchUser(with(ctx, token), &auth.UserPatch{Enabled: false}, auth.PatchUserParams{ID: user}))
}

func (s ogen) Pay(ctx context.Context, signature string, id, user, bill int64, amount float64) (answer, error) {
	return ogenAnswer(s.billing.PaymentWebhook(ctx, &billing.Payment{Signature: billing.NewOptString(signature), TransactionID: id, UserID: user, BillID: bill, Amount: billing.Amount(amount)}, billing.PaymentWebhookParams{}))
}

func (s ogen) Bill(ctx context.Context, token string, id int64) (answer, error) {
	return ogenAnswer(s.billing.GetBill(with(ctx, token), billing.GetBillParams{ID: id}))
}

func (s ogen) Bills(ctx context.Context, token string) (answer, error) {
	return ogenAnswer(s.billing.ListBills(with(ctx, token), billing.ListBillsParams{}))
}

func (s ogen) Transactions(ctx context.Context, token string) (answer, error) {
	return ogenAnswer(s.billing.ListTransactions(with(ctx, token), billing.ListTransactionsParams{}))
}

func (s ogen) Customer(ctx context.Context, token string, user int64) (answer, error) {
	return ogenAnswer(s.billing.GetCustomer(with(ctx, token), billing.GetCustomerParams{UserID: user}))
}

func (s ogen) Customers(ctx context.Context, token string) (answer, error) {
	return ogenAnswer(s.billing.ListCustomers(with(ctx, token), billing.ListCustomersParams{}))
}

func (s ogen) AddProduct(ctx context.Context, token, title, description string, price float64) (answer, error) {
	return ogenAnswer(s.catalog.CreateProduct(with(ctx, token), &catalog.NewProduct{
		Title: catalog.NewTitle(title), Description: catalog.NewDescription(description), Price: catalog.Amount(price),
	}, catalog.CreateProductParams{}))
}

func (s ogen) Product(ctx context.Context, token string, id int64) (answer, error) {
	return ogenAnswer(s.catalog.GetProduct(with(ctx, token), catalog.GetProductParams{ID: id}))
}

func (s ogen) Products(ctx context.Context, token, query string) (answer, error) {
	return ogenAnswer(s.catalog.ListProducts(with(ctx, token), catalog.ListProductsParams{Q: catalog.NewOptString(query)}))
}

func (s ogen) RemoveProduct(ctx context.Context, token string, id int64) (answer, error) {
	return ogenAnswer(s.catalog.DeleteProduct(with(ctx, token), catalog.DeleteProductParams{ID: id}))
}

func (s ogen) Buy(ctx context.Context, token, key string, product, bill int64, expected float64) (answer, error) {
	order := &catalog.NewPurchase{ProductID: product, BillID: bill, ExpectedPrice: catalog.NewOptExpectedPrice(catalog.ExpectedPrice(expected))}
	return ogenAnswer(s.catalog.CreatePurchase(with(ctx, token), order, catalog.CreatePurchaseParams{IdempotencyKey: catalog.NewOptString(key)}))
}

func (s ogen) Purchases(ctx context.Context, token string) (answer, error) {
	return ogenAnswer(s.catalog.ListPurchases(with(ctx, token), catalog.ListPurchasesParams{}))
}
