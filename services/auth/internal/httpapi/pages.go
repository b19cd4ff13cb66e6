package httpapi

import (
	"net/http"

	"lavka/libs/service/page"
)

// pageResponse is a page as the response of any operation that lists. Cut has encoded
// its items already; the generated responses would encode them again.
type pageResponse struct{ page.Page }

func respond(p page.Page, err error) (pageResponse, error) { return pageResponse{p}, err }

func (p pageResponse) VisitListLogResponse(w http.ResponseWriter) error   { return p.Respond(w) }
func (p pageResponse) VisitListUsersResponse(w http.ResponseWriter) error { return p.Respond(w) }
