package email

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"

	gomail "github.com/wneessen/go-mail"
)

// directDial sends a sender to a test server instead of the sandbox.
type directDial struct{ addr string }

func (d *directDial) apply(s *Sender) error {
	return gomail.WithDialContextFunc(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, d.addr)
	})(s.client)
}

// oldServer is a relay without extensions. It ends a session with 421 at the third message, and refuses commands that
// come before it has answered the last one.
type oldServer struct {
	conn net.Conn
	took func(to string)
}

func (s *oldServer) serve() {
	r := bufio.NewReader(s.conn)
	say := func(text string) {
		if r.Buffered() > 0 {
			text = "503 pipelining is not offered here"
		}
		fmt.Fprintf(s.conn, "%s\r\n", text)
	}
	say("220 old.test")
	to, messages := "", 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		switch verb := strings.ToUpper(strings.SplitN(line, " ", 2)[0]); verb {
		case "EHLO":
			say("502 what?")
		case "HELO", "RSET", "NOOP":
			say("250 ok")
		case "MAIL":
			if messages == 2 {
				say("421 enough for today")
				return
			}
			say("250 ok")
		case "RCPT":
			to = strings.TrimSuffix(strings.TrimPrefix(line, "RCPT TO:<"), ">")
			say("250 ok")
		case "DATA":
			say("354 go on")
			for line != ".\r\n" {
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
			}
			messages++
			s.took(to)
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("500 what?")
		}
	}
}
