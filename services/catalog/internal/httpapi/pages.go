package httpapi

import (
	"net/http"

	"lavka/libs/service/page"
)

// pageResponse is a page as the response of any operation that lists. Cut has encoded
// its items already; the generated responses would encode them again.
type pageResponse struct{ page.Page }

func respond(p page.Page, err error) (pageResponse, error) { return pageResponse{p}, err }

func (p pageResponse) VisitListAllPurchasesResponse(w http.ResponseWriter) error { return p.Respond(w) }
func (p pageResponse) VisitListAllRefundsResponse(w http.ResponseWriter) error   { return p.Respond(w) }
func (p pageResponse) VisitListLogResponse(w http.ResponseWriter) error          { return p.Respond(w) }
func (p pageResponse) VisitListPurchasesResponse(w http.ResponseWriter) error    { return p.Respond(w) }
func (p pageResponse) VisitListRefundsResponse(w http.ResponseWriter) error      { return p.Respond(w) }

// productPage is a page of products, with its entity tag.
type productPage struct {
	page.Page
	tag string
}

func (p productPage) VisitListProductsResponse(w http.ResponseWriter) error {
	w.Header().Set("ETag", p.tag)
	return p.Respond(w)
}
