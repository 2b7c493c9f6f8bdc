package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (p *program) logoutCommand() *cobra.Command {
	t := target{p: p}
	cmd := &cobra.Command{
		Use:     "logout",
		Short:   "Forget the credentials for a gateway",
		Example: "  lofn logout --gateway https://functions.example.org",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			choice := t.chooseWithoutStack(cmd)
			logins, err := p.openLogins()
			if err != nil {
				return err
			}
			if !logins.remove(choice.url) {
				return fmt.Errorf("there are no credentials for %s in %s", choice.url, logins.path)
			}
			if err := logins.save(); err != nil {
				return err
			}
			p.outf("credentials removed for %s\n", choice.url)
			return nil
		},
	}
	cmd.Flags().StringVarP(&t.gateway, "gateway", "g", defaultGateway, "address of the gateway; else OPENFAAS_URL")
	return cmd
}
