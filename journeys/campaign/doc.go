// Package campaign keeps campaigns that were run elsewhere: which there were (journeys.campaigns), and whom they targeted,
// as activities campaign_targeted {campaign, kind, start_at, end_at} at the start, under which segments and statistics find
// them. It owns journeys.campaigns and the import kind "campaigns".
package campaign
