package natsproxy

import (
	"bytes"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
)

// frames reads all that there is in a stream.
func frames(t *testing.T, r io.Reader, d Direction) (all []frame) {
	t.Helper()
	reader := newReader(r, d, new(atomic.Int64))
	for {
		f, err := reader.next()
		if err == io.EOF {
			return all
		}
		if err != nil || len(f.raw) == 0 {
			t.Fatalf("after %d frames: %d bytes, %v", len(all), len(f.raw), err)
		}
		all = append(all, f)
	}
}

func TestFrames(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		d    Direction
		in   string
		want []string // each message as subject|reply|header|data, each other frame as it is
	}{
		"a client's":      {ToServer, "CONNECT {}\r\nPUB a 5\r\nhello\r\nPING\r\n", []string{"CONNECT {}\r\n", "a|||hello", "PING\r\n"}},
		"a server's":      {ToClient, "INFO {\"max_payload\":9}\r\nMSG a 7 5\r\nhello\r\n+OK\r\n", []string{"INFO {\"max_payload\":9}\r\n", "a|||hello", "+OK\r\n"}},
		"with replies":    {ToServer, "PUB a b 0\r\n\r\nHPUB c d 5 7\r\nH\r\n\r\nhi\r\n", []string{"a|b||", "c|d|H\r\n\r\n|hi"}},
		"to subscribers":  {ToClient, "MSG a 1 b 1\r\nx\r\nHMSG c 2 3 3\r\nabc\r\n", []string{"a|b||x", "c||abc|"}},
		"written oddly":   {ToServer, "pub\t a \tb  2\nhi\r\nSuB x 1\r\n", []string{"a|b||hi", "SuB x 1\r\n"}},
		"words in data":   {ToServer, "PUB a 14\r\n\r\nPUB b 1\r\nx\r\n\r\nPUB c 0\r\n\r\n", []string{"a|||\r\nPUB b 1\r\nx\r\n", "c|||"}},
		"of the other":    {ToServer, "MSG a 1 1\r\nPUB b 0\r\n\r\n", []string{"MSG a 1 1\r\n", "b|||"}},
		"an error":        {ToClient, "-ERR 'Stale Connection'\r\n", []string{"-ERR 'Stale Connection'\r\n"}},
		"blank lines":     {ToServer, "\r\n\nPING\r\n", []string{"\r\n", "\n", "PING\r\n"}},
		"no size":         {ToServer, "PUB a\r\nPUB b 0\r\n\r\n", []string{"PUB a\r\n", "PUB b 0\r\n\r\n"}},
		"a negative size": {ToServer, "PUB a -1\r\nPUB b 0\r\n\r\n", []string{"PUB a -1\r\n", "PUB b 0\r\n\r\n"}},
		"far too long":    {ToClient, "MSG a 1 2147483647\r\nx", []string{"MSG a 1 2147483647\r\n", "x"}},
		"header too long": {ToServer, "HPUB a 3 2\r\nPUB b 0\r\n\r\n", []string{"HPUB a 3 2\r\n", "PUB b 0\r\n\r\n"}},
		"no end":          {ToServer, "PUB a 1\r\nxyzPUB b 0\r\n\r\n", []string{"PUB a 1\r\nxyz", "PUB b 0\r\n\r\n"}},
		"cut off":         {ToServer, "PUB a 9\r\nhello", []string{"PUB a 9\r\nhello"}},
		"an endless line": {ToServer, strings.Repeat("x", maxLine+1) + "\r\nPUB a 0\r\n\r\n", []string{strings.Repeat("x", maxLine), "x\r\nPUB a 0\r\n\r\n"}},
		"nothing":         {ToClient, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, f := range frames(t, strings.NewReader(c.in), c.d) {
				if m := f.message; m != nil {
					got = append(got, m.Subject+"|"+m.Reply+"|"+string(m.Header)+"|"+string(m.Data))
				} else {
					got = append(got, string(f.raw))
				}
			}
			if strings.Join(got, "¶") != strings.Join(c.want, "¶") {
				t.Errorf("got %.300q, want %.300q", got, c.want)
			}
		})
	}
}

func TestTheServersLimitIsHeeded(t *testing.T) {
	t.Parallel()
	var allowed atomic.Int64
	if _, err := newReader(strings.NewReader("INFO {\"max_payload\": 3}\r\n"), ToClient, &allowed).next(); err != nil {
		t.Fatal(err)
	}
	r := newReader(strings.NewReader("PUB a 3\r\nabc\r\nPUB a 4\r\nabcd\r\n"), ToServer, &allowed)
	if f, err := r.next(); err != nil || f.message == nil {
		t.Errorf("a message that is allowed: %q, %v", f.raw, err)
	}
	// The server refuses it at once, and so need not be waited for.
	if f, err := r.next(); err != nil || f.message != nil || string(f.raw) != "PUB a 4\r\n" {
		t.Errorf("a message that is not: %q, %v", f.raw, err)
	}
}

func FuzzFrames(f *testing.F) {
	for _, s := range []string{
		"CONNECT {\"verbose\":false}\r\nSUB a 1\r\nPUB a b 5\r\nhello\r\nHPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\nUNSUB 1 1\r\nPING\r\n",
		"INFO {\"max_payload\":1048576}\r\nMSG a 1 $JS.ACK.S.c.1.2.3.4.5 5\r\nhello\r\nHMSG a 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n-ERR 'x'\r\n+OK\r\nPONG\r\n",
		"PUB a 8\r\nPUB b 1\r\r\n", "PUB a 2147483648\r\n", "HPUB a 5 3\r\nabcde\r\n", "MSG a 1 2\r\nhi", "pub a 00\n\r\n", "\r\n", "PUB",
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, in []byte, toServer bool) {
		d := ToClient
		if toServer {
			d = ToServer
		}
		var out []byte
		messages := 0
		for _, f := range frames(t, bytes.NewReader(in), d) {
			out = append(out, f.raw...)
			if m := f.message; m != nil {
				messages++
				line, rest, _ := bytes.Cut(f.raw, []byte("\n"))
				if string(rest) != string(m.Header)+string(m.Data)+"\r\n" || !bytes.Contains(line, []byte(m.Subject)) || m.Subject == "" {
					t.Fatalf("%q was read as %+v", f.raw, m)
				}
				_ = m.Stream()
			}
		}
		if !bytes.Equal(out, in) {
			t.Fatalf("%q became %q", in, out)
		}
		// However the network cuts it up, the messages are the same.
		for _, f := range frames(t, iotest.OneByteReader(bytes.NewReader(in)), d) {
			if f.message != nil {
				messages--
			}
		}
		if messages != 0 {
			t.Fatalf("%q: byte by byte, the messages are %d less", in, messages)
		}
	})
}
