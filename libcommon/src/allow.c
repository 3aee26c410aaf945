// Which bit of a row's `allow` a caller's role is: the one place for gateway and services.
#include "ecolink/service.h"

unsigned eco_allow_bit(Ecolink__V1__Role role) {
  switch (role) {
    case ECOLINK__V1__ROLE__ROLE_OWNER:
      return ECO_ALLOW_OWNER;
    case ECOLINK__V1__ROLE__ROLE_MEMBER:
      return ECO_ALLOW_MEMBER;
    case ECOLINK__V1__ROLE__ROLE_INFERENCE:
      return ECO_ALLOW_INFERENCE;
    case ECOLINK__V1__ROLE__ROLE_OPERATOR:
      return ECO_ALLOW_OPERATOR;
    default:
      return 0;
  }
}
